// Parties and manifests for tests: keys, signatures and the management server's bytes.
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { sha3_256 } from "../base/mod.ts";
import {
  cvms,
  generateKeys,
  type KeyKind,
  type PrivateKey,
  readPrivateKey,
  readPublicKeyPem,
  type Role,
  signRole,
} from "../proto/mod.ts";

/** A party of a computation. */
export interface Party {
  readonly key: PrivateKey;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array<ArrayBuffer>;
  /** Metadata of a request in a role, as the Go CLI sends it. */
  sign(role: Role): { "user-id": string; signature: string };
}

/** Makes a party with a fresh key. */
export async function party(kind: KeyKind = "ed25519"): Promise<Party> {
  const { privatePem, publicPem } = await generateKeys(kind);
  const key = readPrivateKey(privatePem);
  return {
    key,
    spki: new Uint8Array(readPublicKeyPem(publicPem)),
    sign: (role) => ({ "user-id": role, signature: signRole(role, key) }),
  };
}

/** Bytes of a text. */
export function bytes(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new TextEncoder().encode(text));
}

/** SHA3-256 in a form messages take. */
export function digest(data: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(sha3_256(data));
}

/** Fields of a run request. */
export type Run = Omit<MessageInitShape<typeof cvms.ComputationRunReqSchema>, "$typeName">;

/** The serialized run request. */
export function manifestBytes(run: Run): Uint8Array {
  return toBinary(cvms.ComputationRunReqSchema, create(cvms.ComputationRunReqSchema, run));
}

/** A run request of one algorithm and the given datasets, all of one party unless said. */
export function runOf(
  owner: Party,
  algorithm: Uint8Array,
  datasets: readonly { data: Uint8Array; filename?: string; owner?: Party }[] = [],
  more: Run = {},
): Run {
  return {
    id: "1",
    name: "sample computation",
    algorithm: { hash: digest(algorithm), userKey: owner.spki },
    datasets: datasets.map((each) => ({
      hash: digest(each.data),
      userKey: (each.owner ?? owner).spki,
      filename: each.filename ?? "",
    })),
    resultConsumers: [{ userKey: owner.spki }],
    agentConfig: {},
    ...more,
  };
}
