// Keys, certificates and digests that tests across rooms need, as files in a house.
import { createHash } from "node:crypto";
import { makeCertificate } from "../channel/mod.ts";
import { generateKeys, type KeyKind } from "../proto/mod.ts";
import type { House } from "./_house.ts";

/** Key files of one party. */
export interface Party {
  readonly name: string;
  readonly privateFile: string;
  readonly publicFile: string;
}

/** Key pairs by kind and number, made once a process: RSA keys take seconds. */
const made = new Map<string, ReturnType<typeof generateKeys>>();

/** Writes a party's key pair. */
export async function party(house: House, name: string, kind: KeyKind): Promise<Party> {
  const id = kind === "rsa" ? kind : `${kind} ${name}`;
  const pair = made.get(id) ?? generateKeys(kind);
  made.set(id, pair);
  const { privatePem, publicPem } = await pair;
  return {
    name,
    privateFile: await house.write(`${name}/private.pem`, privatePem),
    publicFile: await house.write(`${name}/public.pem`, publicPem),
  };
}

/** Certificate files of both ends of a connection. */
export interface Pki {
  readonly ca: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
  /** A client of an authority that nobody knows. */
  readonly stranger: { readonly cert: string; readonly key: string };
}

/** Makes an authority, a server of 127.0.0.1, a client, and a client of another authority. */
export async function pki(house: House): Promise<Pki> {
  const ca = await makeCertificate({ commonName: "authority" });
  const other = await makeCertificate({ commonName: "other" });
  const leaf = async (name: string, issuer: typeof ca) => {
    const { cert, key } = await makeCertificate({
      commonName: name,
      names: ["127.0.0.1", "localhost"],
      issuer,
    });
    return {
      cert: await house.write(`tls/${name}.pem`, cert),
      key: await house.write(`tls/${name}.key`, key),
    };
  };
  return {
    ca: await house.write("tls/ca.pem", ca.cert),
    server: await leaf("server", ca),
    client: await leaf("client", ca),
    stranger: await leaf("stranger", other),
  };
}

/** SHA3-256 in hexadecimal, by node:crypto. */
export function digest(content: string | Uint8Array): string {
  return createHash("sha3-256").update(content).digest("hex");
}
