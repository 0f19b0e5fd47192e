// Defences of a party, one by one: what its command line checks before anything leaves, and what it
// keeps of what comes.
import type { Mutation } from "./_mutations.ts";

const STRICT = ["cli/strict_test.ts"];
const TEXT = ["cli/agreement_test.ts"];

/** The list, by line. */
export const PARTY_MUTATIONS: readonly Mutation[] = [
  {
    line: "M-7",
    removes: "the comparison of the agent's manifest with the approved one",
    file: "cli/strict.ts",
    find: "if (approved.digest === digest) return;",
    replace: 'if (approved.digest !== "") return;',
    tests: STRICT,
  },
  {
    line: "M-7",
    removes: "the file of --manifest, instead of the agent's own word",
    file: "cli/strict.ts",
    find: "? await readAgreementFile(flags.manifest)",
    replace: "? agreement",
    tests: STRICT,
  },
  {
    line: "M-7",
    removes: "the verdict that an agent which changed its manifest is not to be trusted",
    file: "cli/advice.ts",
    find: "/another manifest than the one approved/",
    replace: "/never/",
    tests: STRICT,
  },
  {
    line: "M-9",
    removes: "the check of channel and key after the manifest",
    file: "cli/strict.ts",
    find: "  await checkKey(reached, flags, context);\n",
    replace: "",
    tests: STRICT,
  },
  {
    line: "M-9",
    removes: "the check of the pin before the first call",
    file: "cli/strict.ts",
    find: "if (found !== expected) throw",
    replace: "if (false) throw",
    tests: STRICT,
  },
  {
    line: "M-9",
    removes: "the key that was seen first",
    file: "cli/strict.ts",
    find: "if (seen !== undefined && flags.pin === undefined) throw",
    replace: "if (false) throw",
    tests: STRICT,
  },
  {
    line: "M-11",
    removes: "the refusal of another spelling of the manifest",
    file: "cli/agreement.ts",
    find: "if (agreement.text !== sent) throw",
    replace: "if (false) throw",
    tests: STRICT,
  },
  {
    line: "O-8",
    removes: "the comparison of a result with the announced digest",
    file: "cli/result.ts",
    find: "if (!globals.compat && digest.toHex() !== this.#announced) {",
    replace: "if (globals === undefined) {",
    tests: STRICT,
  },
  {
    line: "S-5",
    removes: "the escapes in the readable manifest",
    file: "cli/agreement_text.ts",
    find: "return printable(JSON.stringify(text), Infinity);",
    replace: "return JSON.stringify(text);",
    tests: TEXT,
  },
  {
    line: "S-6",
    removes: "the question whether this key may see the output",
    file: "cli/output.ts",
    find: "if (!readersOf(agreement.terms).includes(publicText(key))) {",
    replace: "if (false) {",
    tests: STRICT,
  },
];
