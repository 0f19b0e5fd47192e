// Names that parties and management servers give: labels, never paths (threats R4, F-1, M-6).

/** What a computation id may be in compat (threats §3). */
export const ID_RULE = "1 to 64 of A-Z a-z 0-9 . _ -";

/** What a dataset's file name may be. ASCII only, so that look-alikes and normal forms can't differ. */
export const LABEL_RULE =
  "1 to 255 of A-Z a-z 0-9 . _ + @ = , ( ) - and space, beginning with a letter, digit or _, not " +
  "ending with a dot or space";

/** Whether a text is a computation id. */
export function isComputationId(text: string): boolean {
  return /^[A-Za-z0-9._-]{1,64}$/.test(text);
}

/** Whether a text is a label: no slash, no leading dot or dash, no control or non-ASCII character. */
export function isLabel(text: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9._+@=,() -]{0,254}$/.test(text) && !/[. ]$/.test(text);
}

/** Two names that some file system would take for one have the same fold (threats F-2). */
export function fold(name: string): string {
  return name.normalize("NFC").toLowerCase();
}
