/**
 * The protected channel: certificates made here, and (with attestation) the binding of evidence to
 * the connection that is used.
 *
 * @example
 * ```ts
 * import { makeCertificate } from "./mod.ts";
 *
 * const ca = await makeCertificate({ commonName: "a test authority" });
 * const server = await makeCertificate({ commonName: "s", names: ["127.0.0.1"], issuer: ca });
 * console.log(server.cert.startsWith("-----BEGIN CERTIFICATE-----")); // true
 * ```
 *
 * @module
 */
export * from "./certificates.ts";
