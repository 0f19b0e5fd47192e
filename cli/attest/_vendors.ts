// Vendors' servers for tests, on loopback: they answer by a table, and can be slow, gone, lying,
// redirecting. With them the forged evidence of testdata/. Only tests import this file.
import { encodePem } from "../../attestation/mod.ts";
import forged from "./testdata/forged.json" with { type: "json" };

/** An answer, or what makes one. */
export type Answer = Response | (() => Response | Promise<Response>);

/** A running server. */
export interface Vendor extends AsyncDisposable {
  readonly url: string;
  /** Paths with query that were asked for. */
  readonly asked: string[];
  /** Answers by path with query; others get 404. */
  readonly answers: Map<string, () => Response | Promise<Response>>;
}

/** Starts a server. */
export function vendor(
  answers: Readonly<Record<string, () => Response | Promise<Response>>> = {},
): Vendor {
  const asked: string[] = [];
  const table = new Map(Object.entries(answers));
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => {
      const { pathname, search } = new URL(request.url);
      asked.push(pathname + search);
      return table.get(pathname + search)?.() ?? new Response("no", { status: 404 });
    },
  );
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    asked,
    answers: table,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** An address nobody listens on. */
export function nobody(): string {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return `http://127.0.0.1:${port}`;
}

const bytes = (text: string) => Uint8Array.fromBase64(text);

/** The time of the forged evidence. */
export const NOW: number = forged.now;

/** Forged evidence and its chain. */
export const FORGED = {
  report: bytes(forged.report),
  leaf: bytes(forged.leaf),
  intermediate: bytes(forged.intermediate),
  root: bytes(forged.root),
  crl: bytes(forged.crl),
  crlRevoked: bytes(forged.crlRevoked),
  crlExpired: bytes(forged.crlExpired),
  crlLater: bytes(forged.crlLater),
  attestation: bytes(forged.attestation),
  endorsement: bytes(forged.endorsement),
  endorsementRoot: bytes(forged.endorsementRoot),
  firmware: bytes(forged.firmware),
  imaList: new TextEncoder().encode(forged.imaList),
  imaPcr10: forged.imaPcr10,
  rootKey: forged.rootKey,
};

/** Path of the forged chip's certificate. */
export const VCEK_PATH = `/vcek/v1/Milan/${
  "c1".repeat(64)
}?blSPL=4&teeSPL=1&snpSPL=24&ucodeSPL=219`;
/** Path of the forged root's list. */
export const CRL_PATH = "/vcek/v1/Milan/crl";

/** A key distribution service that has the forged chip. */
export function amd(crl: Uint8Array = FORGED.crl): Vendor {
  return vendor({
    [VCEK_PATH]: () => new Response(FORGED.leaf as BodyInit),
    [CRL_PATH]: () => new Response(crl as BodyInit),
  });
}

/** Writes evidence and authorities into a folder; the flags that judge them as good. */
export async function snpFiles(dir: string): Promise<string[]> {
  await Deno.writeFile(`${dir}/report.bin`, FORGED.report);
  const pem = [FORGED.intermediate, FORGED.root].map((der) => encodePem(der, "CERTIFICATE"));
  await Deno.writeTextFile(`${dir}/ca.pem`, pem.join(""));
  return [
    "attestation",
    "validate",
    `${dir}/report.bin`,
    "--report_data",
    "aa".repeat(64),
    "--measurement",
    "bb".repeat(48),
    "--product",
    "Milan",
    "--CA_bundles_paths",
    `${dir}/ca.pem`,
  ];
}
