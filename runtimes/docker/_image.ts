// For tests: archives made byte by byte, so that they can hold what no tool would write.
import { createHash } from "node:crypto";
import { BLOCK, fileHeader, padded } from "./tar.ts";

/** One entry; a plain file unless told otherwise. */
export interface TestEntry {
  readonly path: string;
  readonly content?: string | Uint8Array;
  /** Type byte of the header; files `0`, links `1` and `2`, directories `5`. */
  readonly type?: string;
  readonly target?: string;
  readonly mode?: number;
  /** Changes the header before its checksum is made. */
  readonly bend?: (header: Uint8Array) => void;
}

const encoder = new TextEncoder();

function bytesOf(content: string | Uint8Array): Uint8Array {
  return typeof content === "string" ? encoder.encode(content) : content;
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Writes the checksum again after a header was changed. */
export function sign(header: Uint8Array): void {
  header.fill(32, 148, 156);
  const sum = header.reduce((a, b) => a + b, 0);
  header.set(encoder.encode(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
}

/** A tar archive. */
export function tarOf(entries: readonly TestEntry[]): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (const { path, content = "", type = "0", target = "", mode = 0o755, bend } of entries) {
    const body = bytesOf(content);
    const header = fileHeader(path, body.length);
    header[156] = type.charCodeAt(0);
    header.set(encoder.encode(`${mode.toString(8).padStart(7, "0")}\0`), 100);
    header.set(encoder.encode(target), 157);
    bend?.(header);
    sign(header);
    parts.push(header, body, new Uint8Array(padded(body.length) - body.length));
  }
  return concat([...parts, new Uint8Array(2 * BLOCK)]);
}

/** SHA-256, hex. */
export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What an image is made of. */
export interface TestImage {
  /** Tars of layers, or their entries. */
  readonly layers?: readonly (Uint8Array | readonly TestEntry[])[];
  /** Members of the configuration's `config`. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Members put over the whole configuration. */
  readonly image?: Readonly<Record<string, unknown>>;
  /** How layers are stored. */
  readonly pack?: (layer: Uint8Array) => Uint8Array;
  /** Tags in the manifest. */
  readonly tags?: readonly string[];
  /** Entries beside those of the image. */
  readonly beside?: readonly TestEntry[];
}

/** An image and the digest of its configuration. */
export interface Made {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly id: string;
}

interface Parts {
  readonly config: Uint8Array;
  readonly layers: readonly Uint8Array[];
}

function parts(
  { layers = [[]], config = { Cmd: ["/bin/run"] }, image = {}, pack }: TestImage,
): Parts {
  const tars = layers.map((layer) => layer instanceof Uint8Array ? layer : tarOf(layer));
  return {
    config: encoder.encode(JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config,
      rootfs: { type: "layers", diff_ids: tars.map((tar) => `sha256:${sha256(tar)}`) },
      ...image,
    })),
    layers: tars.map((tar) => pack === undefined ? tar : pack(tar)),
  };
}

/** An image as `docker save` writes it. */
export function savedImage(spec: TestImage = {}): Made {
  const { config, layers } = parts(spec);
  const id = sha256(config);
  const names = layers.map((_, index) => `layer${index}/layer.tar`);
  const manifest = [{ Config: `${id}.json`, RepoTags: spec.tags ?? ["a:b"], Layers: names }];
  return {
    id,
    bytes: tarOf([
      ...layers.map((content, index) => ({ path: names[index] as string, content })),
      { path: `${id}.json`, content: config },
      { path: "manifest.json", content: JSON.stringify(manifest) },
      ...spec.beside ?? [],
    ]),
  };
}

/** An image as an OCI layout, named by `wrap` of its manifest's descriptor. */
export function layoutImage(
  spec: TestImage = {},
  wrap: (descriptor: Record<string, unknown>) => {
    readonly index: unknown;
    readonly blobs?: readonly Uint8Array[];
  } = (descriptor) => ({ index: { manifests: [descriptor] } }),
): Made {
  const { config, layers } = parts(spec);
  const digest = (bytes: Uint8Array) => `sha256:${sha256(bytes)}`;
  const describe = (bytes: Uint8Array) => ({ digest: digest(bytes), size: bytes.length });
  const manifest = encoder.encode(JSON.stringify({
    schemaVersion: 2,
    config: describe(config),
    layers: layers.map(describe),
  }));
  const { index, blobs = [] } = wrap(describe(manifest));
  const all = new Map([config, manifest, ...layers, ...blobs].map((each) => [sha256(each), each]));
  return {
    id: sha256(config),
    bytes: tarOf([
      { path: "oci-layout", content: '{"imageLayoutVersion":"1.0.0"}' },
      { path: "index.json", content: JSON.stringify(index) },
      ...[...all].map(([name, content]) => ({ path: `blobs/sha256/${name}`, content })),
      ...spec.beside ?? [],
    ]),
  };
}
