// `cocos policy gcp|download|azure`: expectations from what a cloud provider signs. The provider's
// server is not trusted; its signature is checked, and what pins it is said.
import { sha384 } from "@noble/hashes/sha2.js";
import { CocosError } from "../../base/mod.ts";
import {
  appraiseAzureToken,
  appraiseGcpEndorsement,
  azureTokenPolicy,
  decodePem,
  Fields,
  firstFailure,
  formatSeedPolicy,
  type Golden,
  MAX_ENDORSEMENT_BYTES,
  MAX_FIRMWARE_BYTES,
  parseCertificate,
  parseEndorsement,
  parseKeySet,
  parseReport,
  parseToken,
  readClaims,
  type SeedPolicy,
  sha,
  splitExtended,
  type Verdict,
} from "../../attestation/mod.ts";
import type { Context } from "../context.ts";
import { lineOf } from "./amd.ts";
import { download } from "./download.ts";
import { readText } from "./files.ts";
import type { AttestInvocation } from "./invocation.ts";
import { readAuthorities, rootsOf } from "./flag_policy.ts";
import { readServers } from "./servers.ts";
import { readSnp } from "./validate.ts";
import { integerFlag, productFlag, smallFlag } from "./values.ts";
import { writeFile } from "./write.ts";

type Of<C extends AttestInvocation["command"]> = Extract<AttestInvocation, { command: C }>;

const FOLDER = "gce_tcb_integrity/ovmf_x64_csm";
const GENERATED = "Attestation policy file generated successfully";

/** Writes a policy for the measurement Google endorses for a number of vCPUs. */
export async function gcp(
  { file, vcpus, json, root, output }: Of<"policy gcp">,
  context: Context,
): Promise<void> {
  const count = smallFlag("vcpus", vcpus, 4096) ?? 0;
  const { golden, report } = await endorsement(file, json, root, context);
  const endorsed = golden.snp?.measurements.get(count);
  if (golden.snp === undefined || endorsed === undefined) {
    const known = [...golden.snp?.measurements.keys() ?? []].join(", ") || "none";
    throw new CocosError("not-found", `Google endorses no measurement for ${count} vCPUs`, {
      hint: `There are measurements for: ${known}.`,
    });
  }
  const { policy, familyId, imageId } = golden.snp;
  await writeSeed(output, context, {
    policy: {
      policy,
      familyId: Uint8Array.fromHex(familyId),
      imageId: Uint8Array.fromHex(imageId),
      measurement: Uint8Array.fromHex(endorsed),
      vmpl: 0n,
      reportIdMa: new Uint8Array(32).fill(0xff),
    },
    rootOfTrust: { productLine: lineOf(report, ["Milan"]), checkCrl: true },
  });
}

/** Fetches the endorsed firmware and compares its digest. */
export async function firmware(
  { file, json }: Of<"policy download">,
  context: Context,
): Promise<void> {
  const { terminal, signal } = context;
  const { golden } = await endorsement(file, json, undefined, context);
  const url = `${readServers(context.env).google}/${FOLDER}/${golden.firmware}.fd`;
  const { body } = await download(url, { most: MAX_FIRMWARE_BYTES, signal });
  if (sha384(body).toHex() !== golden.firmware) {
    throw new CocosError("digest-mismatch", "Cannot keep the firmware: its digest is not endorsed");
  }
  terminal.success("OVMF firmware in vm is unmodified", { after: "✅" });
  await writeFile("ovmf.fd", body, true);
  terminal.success("OVMF file downloaded successfully", { after: "✅" });
  terminal.result({ file: "ovmf.fd", sha384: golden.firmware });
}

/** The endorsement of a report's measurement, with its signature checked. */
async function endorsement(
  file: string,
  json: boolean,
  root: string | undefined,
  { env, signal, terminal, now }: Context,
) {
  const report = parseReport(splitExtended(await readSnp(file, json)).report);
  const url = `${readServers(env).google}/${FOLDER}/sevsnp/${report.measurement.toHex()}.binarypb`;
  const { body } = await download(url, { most: MAX_ENDORSEMENT_BYTES, signal });
  const { golden } = parseEndorsement(body);
  if (root === undefined) {
    terminal.say(
      "weakness: Google's root is not pinned (--root): whoever runs the server could endorse this",
    );
  }
  const verdict = await appraiseGcpEndorsement(body, {
    technology: "gcp-endorsement",
    roots: root === undefined
      ? await ownRoot(golden)
      : await rootsOf(await readAuthorities([root])),
    minimumSvn: 0,
    firmware: "any",
    vcpus: "any",
  }, { now: now(), measurement: report.measurement, technology: "snp" });
  demand(verdict, "the endorsement");
  return { golden, report };
}

async function ownRoot({ caBundle }: Golden): Promise<string[]> {
  const last = decodePem(new TextDecoder().decode(caBundle), "CERTIFICATE", 4).at(-1);
  return last === undefined ? [] : [(await sha(384, parseCertificate(last).key.spki)).toHex()];
}

/** Writes a policy from the claims of a token of Microsoft's attestation service. */
export async function azure(
  { file, product, policy, keys, output }: Of<"policy azure">,
  context: Context,
): Promise<void> {
  const line = productFlag(product);
  const token = (await readText(file, 128 * 1024)).trim();
  const { payload } = parseToken(token);
  const claims = readClaims(payload);
  if (keys === undefined) {
    context.terminal.say(
      "weakness: the token's signature is not checked (--keys): anybody could have written it",
    );
  } else {
    const keySet = await readText(keys);
    demand(
      await appraiseAzureToken(
        token,
        azureTokenPolicy({
          issuer: claims.issuer,
          keys: (await parseKeySet(keySet)).map(({ thumbprint }) => thumbprint),
          measurement: "any",
          nonce: "any",
          audience: "any",
        }),
        { now: context.now(), keySet },
      ),
      "the token",
    );
  }
  const top = new Fields(payload, "a token's claims");
  const tee = top.required("x-ms-isolation-tee", top.object("x-ms-isolation-tee"));
  const bytes = (name: string, length: number) => {
    const claim = `x-ms-sevsnpvm-${name}`;
    const text = tee.required(claim, tee.string(claim));
    if (!new RegExp(`^[0-9a-fA-F]{${2 * length}}$`).test(text)) {
      throw tee.fault(claim, `must be hex of ${length} bytes`);
    }
    return Uint8Array.fromHex(text);
  };
  await writeSeed(output, context, {
    policy: {
      policy: integerFlag("policy", policy) ?? 0n,
      familyId: bytes("familyId", 16),
      imageId: bytes("imageId", 16),
      measurement: bytes("launchmeasurement", 48),
      minimumGuestSvn: BigInt(claims.guestSvn),
      trustedIdKeyHashes: [bytes("idkeydigest", 48)],
      reportId: bytes("reportid", 32),
    },
    rootOfTrust: { productLine: line, checkCrl: true },
  });
}

async function writeSeed(
  output: string,
  { terminal }: Context,
  seed: Pick<SeedPolicy, "policy" | "rootOfTrust">,
): Promise<void> {
  await writeFile(output, formatSeedPolicy({ ...seed, pcrValues: {}, unknown: [] }), true);
  terminal.success(GENERATED, { after: "✅" });
  terminal.result({ file: output });
}

function demand(verdict: Verdict, what: string): void {
  if (verdict.ok) return;
  const failed = firstFailure(verdict);
  throw new CocosError(
    "untrusted",
    `Cannot use ${what}: ${failed?.id}: expected ${failed?.expected}, found ${failed?.actual}`,
    failed?.remedy === undefined ? {} : { hint: failed.remedy },
  );
}
