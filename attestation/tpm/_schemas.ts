// Field tables of go-tpm-tools' attest.Attestation and the messages inside of it (attest.proto,
// tpm.proto, sevsnp.proto, tdx.proto): numbers and names only. Nobody's bytes are in this file.
import type { Schema } from "./_proto.ts";

/** tpm.HashAlgo. */
const HASHES = { 0: "HASH_INVALID", 4: "SHA1", 11: "SHA256", 12: "SHA384", 13: "SHA512" } as const;

/** sevsnp.SevProduct.SevProductName. */
const PRODUCTS = {
  0: "SEV_PRODUCT_UNKNOWN",
  1: "SEV_PRODUCT_MILAN",
  2: "SEV_PRODUCT_GENOA",
  3: "SEV_PRODUCT_TURIN",
} as const;

const PCRS: Schema = {
  name: "tpm.PCRs",
  fields: [
    { number: 1, name: "hash", kind: { words: HASHES } },
    { number: 2, name: "pcrs", kind: { map: "u32" } },
  ],
};

const QUOTE: Schema = {
  name: "tpm.Quote",
  fields: [
    { number: 1, name: "quote", kind: "bytes" },
    { number: 2, name: "raw_sig", kind: "bytes" },
    { number: 3, name: "pcrs", kind: { message: PCRS } },
  ],
};

const INSTANCE: Schema = {
  name: "attest.GCEInstanceInfo",
  fields: [
    { number: 1, name: "zone", kind: "string" },
    { number: 2, name: "project_id", kind: "string" },
    { number: 3, name: "project_number", kind: "u64" },
    { number: 4, name: "instance_name", kind: "string" },
    { number: 5, name: "instance_id", kind: "u64" },
  ],
};

/** Fields 1 to 31, in the order of the report. */
const REPORT: Schema = {
  name: "sevsnp.Report",
  fields: [
    { number: 1, name: "version", kind: "u32" },
    { number: 2, name: "guest_svn", kind: "u32" },
    { number: 3, name: "policy", kind: "u64" },
    { number: 4, name: "family_id", kind: "bytes" },
    { number: 5, name: "image_id", kind: "bytes" },
    { number: 6, name: "vmpl", kind: "u32" },
    { number: 7, name: "signature_algo", kind: "u32" },
    { number: 8, name: "current_tcb", kind: "u64" },
    { number: 9, name: "platform_info", kind: "u64" },
    { number: 10, name: "signer_info", kind: "u32" },
    { number: 11, name: "report_data", kind: "bytes" },
    { number: 12, name: "measurement", kind: "bytes" },
    { number: 13, name: "host_data", kind: "bytes" },
    { number: 14, name: "id_key_digest", kind: "bytes" },
    { number: 15, name: "author_key_digest", kind: "bytes" },
    { number: 16, name: "report_id", kind: "bytes" },
    { number: 17, name: "report_id_ma", kind: "bytes" },
    { number: 18, name: "reported_tcb", kind: "u64" },
    { number: 19, name: "chip_id", kind: "bytes" },
    { number: 20, name: "committed_tcb", kind: "u64" },
    { number: 21, name: "current_build", kind: "u32" },
    { number: 22, name: "current_minor", kind: "u32" },
    { number: 23, name: "current_major", kind: "u32" },
    { number: 24, name: "committed_build", kind: "u32" },
    { number: 25, name: "committed_minor", kind: "u32" },
    { number: 26, name: "committed_major", kind: "u32" },
    { number: 27, name: "launch_tcb", kind: "u64" },
    { number: 28, name: "signature", kind: "bytes" },
    { number: 29, name: "cpuid1eax_fms", kind: "u32" },
    { number: 30, name: "launch_mit_vector", kind: "u64" },
    { number: 31, name: "current_mit_vector", kind: "u64" },
  ],
};

const CHAIN: Schema = {
  name: "sevsnp.CertificateChain",
  fields: [
    { number: 1, name: "vcek_cert", kind: "bytes" },
    { number: 2, name: "ask_cert", kind: "bytes" },
    { number: 3, name: "ark_cert", kind: "bytes" },
    { number: 4, name: "firmware_cert", kind: "bytes" },
    { number: 6, name: "vlek_cert", kind: "bytes" },
    { number: 7, name: "extras", kind: { map: "string" } },
  ],
};

const UINT32: Schema = {
  name: "google.protobuf.UInt32Value",
  fields: [
    { number: 1, name: "value", kind: "u32" },
  ],
};

const PRODUCT: Schema = {
  name: "sevsnp.SevProduct",
  fields: [
    { number: 1, name: "name", kind: { words: PRODUCTS } },
    { number: 2, name: "stepping", kind: "u32" },
    { number: 3, name: "machine_stepping", kind: { message: UINT32 } },
  ],
};

/** The SNP report by fields and its certificates. */
export const SEV_SNP: Schema = {
  name: "sevsnp.Attestation",
  fields: [
    { number: 1, name: "report", kind: { message: REPORT } },
    { number: 2, name: "certificate_chain", kind: { message: CHAIN } },
    { number: 3, name: "product", kind: { message: PRODUCT } },
  ],
};

const TDX_HEADER: Schema = {
  name: "tdx.Header",
  fields: [
    { number: 1, name: "version", kind: "u32" },
    { number: 2, name: "attestation_key_type", kind: "u32" },
    { number: 3, name: "tee_type", kind: "u32" },
    { number: 4, name: "qe_svn", kind: "bytes" },
    { number: 5, name: "pce_svn", kind: "bytes" },
    { number: 6, name: "qe_vendor_id", kind: "bytes" },
    { number: 7, name: "user_data", kind: "bytes" },
  ],
};

const TDX_BODY: Schema = {
  name: "tdx.TDQuoteBody",
  fields: [
    { number: 1, name: "tee_tcb_svn", kind: "bytes" },
    { number: 2, name: "mr_seam", kind: "bytes" },
    { number: 3, name: "mr_signer_seam", kind: "bytes" },
    { number: 4, name: "seam_attributes", kind: "bytes" },
    { number: 5, name: "td_attributes", kind: "bytes" },
    { number: 6, name: "xfam", kind: "bytes" },
    { number: 7, name: "mr_td", kind: "bytes" },
    { number: 8, name: "mr_config_id", kind: "bytes" },
    { number: 9, name: "mr_owner", kind: "bytes" },
    { number: 10, name: "mr_owner_config", kind: "bytes" },
    { number: 11, name: "rtmrs", kind: "bytes", repeated: true },
    { number: 12, name: "report_data", kind: "bytes" },
  ],
};

const ENCLAVE: Schema = {
  name: "tdx.EnclaveReport",
  fields: [
    { number: 1, name: "cpu_svn", kind: "bytes" },
    { number: 2, name: "misc_select", kind: "u32" },
    { number: 3, name: "reserved1", kind: "bytes" },
    { number: 4, name: "attributes", kind: "bytes" },
    { number: 5, name: "mr_enclave", kind: "bytes" },
    { number: 6, name: "reserved2", kind: "bytes" },
    { number: 7, name: "mr_signer", kind: "bytes" },
    { number: 8, name: "reserved3", kind: "bytes" },
    { number: 9, name: "isv_prod_id", kind: "u32" },
    { number: 10, name: "isv_svn", kind: "u32" },
    { number: 11, name: "reserved4", kind: "bytes" },
    { number: 12, name: "report_data", kind: "bytes" },
  ],
};

const QE_AUTH: Schema = {
  name: "tdx.QeAuthData",
  fields: [
    { number: 1, name: "parsed_data_size", kind: "u32" },
    { number: 2, name: "data", kind: "bytes" },
  ],
};

const PCK_CHAIN: Schema = {
  name: "tdx.PCKCertificateChainData",
  fields: [
    { number: 1, name: "certificate_data_type", kind: "u32" },
    { number: 2, name: "size", kind: "u32" },
    { number: 3, name: "pck_cert_chain", kind: "bytes" },
  ],
};

const QE_DATA: Schema = {
  name: "tdx.QEReportCertificationData",
  fields: [
    { number: 1, name: "qe_report", kind: { message: ENCLAVE } },
    { number: 2, name: "qe_report_signature", kind: "bytes" },
    { number: 3, name: "qe_auth_data", kind: { message: QE_AUTH } },
    { number: 4, name: "pck_certificate_chain_data", kind: { message: PCK_CHAIN } },
  ],
};

const CERTIFICATION: Schema = {
  name: "tdx.CertificationData",
  fields: [
    { number: 1, name: "certificate_data_type", kind: "u32" },
    { number: 2, name: "size", kind: "u32" },
    { number: 3, name: "qe_report_certification_data", kind: { message: QE_DATA } },
  ],
};

const TDX_SIGNED: Schema = {
  name: "tdx.Ecdsa256BitQuoteV4AuthData",
  fields: [
    { number: 1, name: "signature", kind: "bytes" },
    { number: 2, name: "ecdsa_attestation_key", kind: "bytes" },
    { number: 3, name: "certification_data", kind: { message: CERTIFICATION } },
  ],
};

const TDX_QUOTE: Schema = {
  name: "tdx.QuoteV4",
  fields: [
    { number: 1, name: "header", kind: { message: TDX_HEADER } },
    { number: 2, name: "td_quote_body", kind: { message: TDX_BODY } },
    { number: 3, name: "signed_data_size", kind: "u32" },
    { number: 4, name: "signed_data", kind: { message: TDX_SIGNED } },
    { number: 5, name: "extra_bytes", kind: "bytes" },
  ],
};

/** The whole. */
export const ATTESTATION: Schema = {
  name: "attest.Attestation",
  fields: [
    { number: 1, name: "ak_pub", kind: "bytes" },
    { number: 2, name: "quotes", kind: { message: QUOTE }, repeated: true },
    { number: 3, name: "event_log", kind: "bytes" },
    { number: 4, name: "instance_info", kind: { message: INSTANCE } },
    { number: 5, name: "canonical_event_log", kind: "bytes" },
    { number: 6, name: "ak_cert", kind: "bytes" },
    { number: 7, name: "intermediate_certs", kind: "bytes", repeated: true },
    { number: 8, name: "sev_snp_attestation", kind: { message: SEV_SNP } },
    { number: 9, name: "tdx_attestation", kind: { message: TDX_QUOTE } },
  ],
};
