// Claims as Azure's attestation service makes them, with values of our own; tests change and sign them.

/** Launch measurement of the made claims. */
export const MEASUREMENT: string = "5e".repeat(48);

/** Claims of a compliant SNP VM, without issuer, times and nonce. */
export function madeClaims(): Record<string, unknown> {
  return {
    jti: "1f".repeat(32),
    secureboot: true,
    "x-ms-attestation-type": "azurevm",
    "x-ms-azurevm-attestation-protocol-ver": "2.0",
    "x-ms-azurevm-attested-pcrs": [0, 1, 2, 3, 4, 5, 6, 7],
    "x-ms-azurevm-vmid": "00000000-0000-4000-8000-000000000000",
    "x-ms-isolation-tee": {
      "x-ms-attestation-type": "sevsnpvm",
      "x-ms-compliance-status": "azure-compliant-cvm",
      "x-ms-sevsnpvm-authorkeydigest": "00".repeat(48),
      "x-ms-sevsnpvm-bootloader-svn": 2,
      "x-ms-sevsnpvm-familyId": "01".padEnd(32, "0"),
      "x-ms-sevsnpvm-guestsvn": 1,
      "x-ms-sevsnpvm-hostdata": "00".repeat(32),
      "x-ms-sevsnpvm-idkeydigest": "1d".repeat(48),
      "x-ms-sevsnpvm-imageId": "02".padEnd(32, "0"),
      "x-ms-sevsnpvm-is-debuggable": false,
      "x-ms-sevsnpvm-launchmeasurement": MEASUREMENT,
      "x-ms-sevsnpvm-microcode-svn": 55,
      "x-ms-sevsnpvm-migration-allowed": false,
      "x-ms-sevsnpvm-reportdata": "00".repeat(64),
      "x-ms-sevsnpvm-reportid": "1e".repeat(32),
      "x-ms-sevsnpvm-smt-allowed": true,
      "x-ms-sevsnpvm-snpfw-svn": 2,
      "x-ms-sevsnpvm-tee-svn": 0,
      "x-ms-sevsnpvm-vmpl": 0,
    },
    "x-ms-policy-hash": "A".repeat(43),
    "x-ms-ver": "1.0",
  };
}
