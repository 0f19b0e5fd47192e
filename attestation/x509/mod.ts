/**
 * Certificates, revocation lists and signatures: strict parsers and one verifier over WebCrypto.
 *
 * @example
 * ```ts
 * import { isIssuedBy, parseCertificate } from "./mod.ts";
 *
 * async function selfSigned(der: Uint8Array): Promise<boolean> {
 *   const certificate = parseCertificate(der);
 *   return await isIssuedBy(certificate, certificate);
 * }
 * ```
 *
 * @module
 */
export * from "./certificate.ts";
export * from "./crl.ts";
export * from "./der.ts";
export * from "./pem.ts";
export * from "./signature.ts";
