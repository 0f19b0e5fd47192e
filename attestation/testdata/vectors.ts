// Where tests find real evidence: this folder first, then the shared collection beside the
// repository. A file that is in neither gives `undefined` and one `skipped:` line.

const HERE = new URL("./", import.meta.url);
const SHARED = new URL("../../../shared/vectors/", import.meta.url);

/** Bytes of a vector such as `snp/milan-v2-vcek-report.bin`. */
export function vector(path: string): Uint8Array<ArrayBuffer> | undefined {
  for (const folder of [HERE, SHARED]) {
    try {
      return Deno.readFileSync(new URL(path, folder));
    } catch (error) {
      const absent = error instanceof Deno.errors.NotFound ||
        error instanceof Deno.errors.NotCapable;
      if (!absent) throw error;
    }
  }
  console.log(`skipped: vector ${path} is not at hand`);
  return undefined;
}

/** Bytes of a vector that is part of this repository. */
export function ownVector(path: string): Uint8Array<ArrayBuffer> {
  return Deno.readFileSync(new URL(path, HERE));
}

/** Text of a vector that is part of this repository. */
export function ownText(path: string): string {
  return new TextDecoder().decode(ownVector(path));
}

/** True when the long form of the tests is asked for (`deno test … -- --slow`). */
export const SLOW: boolean = Deno.args.includes("--slow");

/** A number such as `-- --fuzz=1000000`, else the one for an ordinary run. */
export function asked(name: string, ordinary: number): number {
  const word = Deno.args.find((each) => each.startsWith(`--${name}=`))?.split("=")[1];
  return word === undefined ? ordinary : Number(word);
}

/** The bit numbers to flip: all of them in a slow run, else about `sample` spread evenly. */
export function bitsToFlip(bytes: number, sample: number): number[] {
  const step = SLOW ? 1 : Math.max(1, Math.floor(bytes * 8 / sample)) | 1;
  return Array.from({ length: Math.ceil(bytes * 8 / step) }, (_, at) => at * step);
}

/** A copy with one bit changed. */
export function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice();
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
}
