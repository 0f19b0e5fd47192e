// `cocos manifest show|digest|approve`: the manifest of a file, or the one the agent holds, for a
// person to read and to keep as approved.
import { CocosError } from "../base/mod.ts";
import { type Agreement, readAgreementFile } from "./agreement.ts";
import { agreementText } from "./agreement_text.ts";
import { Approvals } from "./approvals.ts";
import type { Context } from "./context.ts";
import { readSettings } from "./settings.ts";
import { reach } from "./strict.ts";
import type { ManifestInvocation } from "./trust.ts";

/** Runs one of the commands. */
export async function manifestCommand(
  invocation: ManifestInvocation,
  context: Context,
): Promise<void> {
  const { terminal } = context;
  const agreement = await find(invocation, context);
  const { terms, digest } = agreement;
  switch (invocation.command) {
    case "manifest show":
      return terminal.data(agreementText(agreement), { digest, manifest: terms });
    case "manifest digest":
      return terminal.data(digest, { digest });
    case "manifest approve":
      if ((invocation.digest ?? digest) !== digest) {
        throw new CocosError(
          "untrusted",
          `the manifest has the digest ${digest}, not ${invocation.digest}`,
          { hint: "Nothing was approved." },
        );
      }
      // Whoever names the digest has read it.
      if (invocation.digest === undefined) terminal.say(agreementText(agreement));
      await new Approvals(context.env).approve(agreement);
      terminal.success(`Approved manifest ${digest} of computation ${terms.id}`, { before: "✅" });
      return terminal.result({ approved: terms.id, digest });
  }
}

async function find(invocation: ManifestInvocation, context: Context): Promise<Agreement> {
  if (invocation.file !== undefined) return await readAgreementFile(invocation.file);
  const settings = readSettings("agent", context.env);
  await using reached = await reach(settings, invocation, context);
  return reached.agreement;
}
