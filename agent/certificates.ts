// Certificates and keys the agent is given: by the host for its session, by the management server for
// the front door. Neither is trusted: small, well-formed, belonging together, or refused; never a
// fall to a weaker mode (threats H-2, H-3).
import { createPrivateKey, X509Certificate } from "node:crypto";
import { CocosError, messageOf } from "../base/mod.ts";
import { readSmallFile } from "./envfile.ts";

/** Largest certificate or key file. */
export const MAX_PEM_BYTES = 64 * 1024;

/** Most certificates in one file. */
const MAX_CERTIFICATES = 16;

/**
 * Reads a certificate file of a setting or manifest.
 *
 * @param folder folder it must lie in; a path in `/etc/certs`, where the Go programs expect the
 * share, means the file of that name in it. `undefined`: any path.
 * @throws {CocosError} `invalid-config`.
 */
export function readPemFile(path: string, folder: string | undefined): string {
  let real = path;
  if (folder !== undefined) {
    const name = path.startsWith("/etc/certs/")
      ? path.slice("/etc/certs/".length)
      : path.startsWith(`${folder}/`)
      ? path.slice(folder.length + 1)
      : "";
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(name)) {
      throw new CocosError(
        "invalid-config",
        `Cannot read ${JSON.stringify(path)} as certificates must lie in ${folder}`,
      );
    }
    real = `${folder}/${name}`;
  }
  const bytes = readSmallFile(real, MAX_PEM_BYTES);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new CocosError("invalid-config", `Cannot read ${path}: must be PEM text`, { cause });
  }
}

/**
 * Checks a chain and its key.
 *
 * @param name what to call them in a refusal
 * @throws {CocosError} `invalid-config`.
 */
export function checkPair(cert: string, key: string, name: string): X509Certificate {
  const [leaf] = certificatesOf(cert, name);
  if (leaf === undefined) throw refused(name, "holds no certificate");
  if (leaf.ca) throw refused(name, "must be no CA's certificate");
  let matches: boolean;
  try {
    if (!/^\s*-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(key) || key.length > MAX_PEM_BYTES) {
      throw new RangeError("not one PEM private key");
    }
    matches = leaf.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw refused(name, `has a bad key: ${messageOf(cause)}`, cause);
  }
  if (!matches) throw refused(name, "and its key do not belong together");
  return leaf;
}

/**
 * Checks a file of CA certificates.
 *
 * @throws {CocosError} `invalid-config`.
 */
export function checkCas(text: string, name: string): void {
  if (certificatesOf(text, name).length === 0) throw refused(name, "holds no certificate");
}

function certificatesOf(text: string, name: string): X509Certificate[] {
  if (text.length > MAX_PEM_BYTES) throw refused(name, `must have at most ${MAX_PEM_BYTES} bytes`);
  const block = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;
  const blocks = text.match(block) ?? [];
  if (text.replace(block, "").trim() !== "") throw refused(name, "has text that is no certificate");
  if (blocks.length > MAX_CERTIFICATES) {
    throw refused(name, `must have at most ${MAX_CERTIFICATES} certificates`);
  }
  return blocks.map((each) => {
    try {
      return new X509Certificate(each);
    } catch (cause) {
      throw refused(name, `can't be read: ${messageOf(cause)}`, cause);
    }
  });
}

function refused(name: string, rule: string, cause?: unknown): CocosError {
  return new CocosError(
    "invalid-config",
    `Cannot use certificate: ${name} ${rule}`,
    cause === undefined ? {} : { cause },
  );
}
