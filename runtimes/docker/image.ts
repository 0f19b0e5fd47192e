// One image out of an uploaded archive, checked down to the digest of each layer, and written out
// anew for the engine: it gets what was checked, under a name of ours, and nothing else.
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { CocosError, messageOf } from "../../base/mod.ts";
import { refuse } from "../contract.ts";
import type { Archive, Span } from "./archive.ts";
import {
  digestOf,
  type ImageConfig,
  listOf,
  MAX_JSON,
  MAX_LAYERS,
  objectOf,
  readConfig,
  readJson,
} from "./config.ts";
import { LayerRules, readLayer } from "./layer.ts";
import { BLOCK, fileHeader, padded } from "./tar.ts";

/** Largest index of an OCI layout, in entries. */
const MAX_MANIFESTS = 64;
/** Unpacked to packed: real layers have 2 to 4, and a small one may have more. */
const MAX_RATIO = 100;
const RATIO_FREE_BYTES = 16 << 20;

/** Packings of a layer by its first bytes (RFC 1952, RFC 8878). */
const PACKINGS = [
  { magic: [0x1f, 0x8b], unpack: createGunzip },
  { magic: [0x28, 0xb5, 0x2f, 0xfd], unpack: createZstdDecompress },
] as const;

/** A checked image. */
export interface Image {
  /** SHA-256 of its configuration, hex: the engine's own name for it. */
  readonly id: string;
  readonly config: ImageConfig;
  /** Writes it as an archive that names it `tag`. */
  archive(tag: string): AsyncGenerator<Uint8Array>;
}

/** Where the parts of an image are. */
interface Parts {
  readonly config: Uint8Array<ArrayBuffer>;
  readonly layers: readonly Span[];
}

/**
 * Reads the one image of an archive; it must stay open while the image is used.
 *
 * @throws {CocosError} `invalid-argument` that says what is wrong.
 */
export async function readImage(archive: Archive, signal: AbortSignal): Promise<Image> {
  const parts = archive.has("manifest.json") ? await saved(archive) : await layout(archive);
  const config = readConfig(parts.config);
  if (config.layers.length !== parts.layers.length) {
    refuse("The image's configuration has another number of layers than its manifest");
  }
  const rules = new LayerRules(config.workdir);
  const sizes: number[] = [];
  for (const [index, span] of parts.layers.entries()) {
    const { bytes, sha256 } = await readLayer(unpacked(archive, span, signal), rules);
    if (sha256 !== config.layers[index]) {
      refuse(`The image's layer ${index + 1} isn't the one its configuration names`);
    }
    sizes.push(bytes);
  }
  const id = sha256(parts.config);
  return {
    id,
    config,
    archive: (tag) => written(archive, parts, sizes, id, tag, signal),
  };
}

/** `docker save`: one image, whatever its names. */
async function saved(archive: Archive): Promise<Parts> {
  const images = listOf(
    readJson(await archive.read("manifest.json", MAX_JSON), "manifest"),
    "manifest",
    MAX_MANIFESTS,
  );
  if (images.length !== 1) refuse(`The archive holds ${images.length} images, it must be one`);
  const image = objectOf(images[0], "manifest");
  const config = await archive.read(image["config"], MAX_JSON);
  const layers = listOf(image["layers"], "manifest", MAX_LAYERS);
  return { config, layers: layers.map((path) => archive.span(path)) };
}

/** OCI image layout: the index names one manifest for this machine, directly or by another index. */
async function layout(archive: Archive): Promise<Parts> {
  if (!archive.has("index.json")) {
    refuse("The archive is no image: neither manifest.json nor index.json is in it");
  }
  let document = objectOf(readJson(await archive.read("index.json", MAX_JSON), "index"), "index");
  for (let depth = 0; document["manifests"] !== undefined; depth++) {
    if (depth === 2) refuse("The image's index is nested too deep");
    const fitting = listOf(document["manifests"], "index", MAX_MANIFESTS)
      .map((each) => objectOf(each, "index"))
      .filter(({ platform }) => fits(objectOf(platform, "platform")));
    if (fitting.length !== 1) {
      refuse(`The archive holds ${fitting.length} images for linux/amd64, it must be one`);
    }
    const manifest = await blob(archive, fitting[0]?.["digest"]);
    document = objectOf(readJson(manifest, "manifest"), "manifest");
  }
  const layers = listOf(document["layers"], "manifest", MAX_LAYERS);
  return {
    config: await blob(archive, objectOf(document["config"], "manifest")["digest"]),
    layers: layers.map((each) => archive.span(blobPath(objectOf(each, "manifest")["digest"]))),
  };
}

/** A platform that is named must be ours; build attestations name `unknown`. */
function fits(platform: Readonly<Record<string, unknown>>): boolean {
  return (platform["os"] ?? "linux") === "linux" &&
    (platform["architecture"] ?? "amd64") === "amd64";
}

function blobPath(digest: unknown): string {
  return `blobs/sha256/${digestOf(digest, "manifest")}`;
}

async function blob(archive: Archive, digest: unknown): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await archive.read(blobPath(digest), MAX_JSON);
  if (sha256(bytes) !== digestOf(digest, "manifest")) refuse("The image has a damaged description");
  return bytes;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A layer's tar: unpacked by us, so that the engine never unpacks anything. */
async function* unpacked(
  archive: Archive,
  span: Span,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const start = await Array.fromAsync(archive.chunks({ ...span, size: Math.min(span.size, 4) }));
  const packing = PACKINGS.find(({ magic }) => magic.every((byte, at) => start[0]?.[at] === byte));
  if (packing === undefined) {
    for await (const chunk of archive.chunks(span)) {
      signal.throwIfAborted();
      yield chunk;
    }
    return;
  }
  const most = RATIO_FREE_BYTES + span.size * MAX_RATIO;
  let bytes = 0;
  const source = Readable.from(archive.chunks(span));
  const stream = source.pipe(packing.unpack());
  source.once("error", (error) => stream.destroy(error));
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      signal.throwIfAborted();
      bytes += chunk.length;
      if (bytes > most) refuse(`The image has a layer that unpacks to over ${MAX_RATIO} times`);
      yield chunk;
    }
  } catch (cause) {
    if (cause instanceof CocosError || signal.aborted) throw cause;
    refuse(`The image has a layer that can't be unpacked: ${messageOf(cause)}`, cause);
  } finally {
    source.destroy();
    stream.destroy();
  }
}

/** The archive the engine gets, in the form that every version of it reads. */
async function* written(
  archive: Archive,
  { config, layers }: Parts,
  sizes: readonly number[],
  id: string,
  tag: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const names = layers.map((_, index) => `${index}.tar`);
  const manifest = [{ Config: `${id}.json`, RepoTags: [tag], Layers: names }];
  yield* entry("manifest.json", new TextEncoder().encode(JSON.stringify(manifest)));
  yield* entry(`${id}.json`, config);
  for (const [index, span] of layers.entries()) {
    const size = sizes[index] as number;
    yield fileHeader(names[index] as string, size);
    let bytes = 0;
    for await (const chunk of unpacked(archive, span, signal)) {
      bytes += chunk.length;
      yield chunk;
    }
    if (bytes !== size) throw new CocosError("data-loss", "The image changed while it was read");
    yield new Uint8Array(padded(size) - size);
  }
  yield new Uint8Array(2 * BLOCK);
}

function* entry(
  name: string,
  content: Uint8Array<ArrayBuffer>,
): Generator<Uint8Array<ArrayBuffer>> {
  yield fileHeader(name, content.length);
  yield content;
  yield new Uint8Array(padded(content.length) - content.length);
}
