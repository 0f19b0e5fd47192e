// Launch digests equal to those of igvmmeasure and sev-snp-measure, case by case.
import assert from "node:assert/strict";
import { CocosError } from "../../base/mod.ts";
import { BANKS } from "../banks.ts";
import { ownText, ownVector, vector } from "../testdata/vectors.ts";
import { toHex } from "../verdict.ts";
import { measureIgvm, measureSev, type SevMode } from "./mod.ts";

interface SevCase {
  firmware: string;
  mode: string;
  vcpus: number;
  cpu: string;
  guest_features: string;
  vmm: string;
  kernel: string | null;
  initrd: string | null;
  append: string | null;
  digest?: string;
  must_fail?: string;
}

const SEV: {
  cpu_signatures_eax: Record<string, string>;
  files: Record<string, { sha256: string }>;
  cases: SevCase[];
} = JSON.parse(ownText("measure/sev-snp-measure-digests.json"));

const MODES: Record<string, SevMode> = { SEV_SNP: "snp", SEV_ES: "seves", SEV: "sev" };

/** The firmware of a case: a suffix from this repository, or the file of Debian's package `ovmf`. */
function firmware(name: string): Uint8Array | undefined {
  if (name.endsWith("suffix.bin")) return ownVector(`measure/${name}`);
  const bytes = installed(`/usr/share/OVMF/${name}`) ?? installed(`/usr/share/ovmf/${name}`);
  if (bytes === undefined) {
    console.log(`skipped: ${name} of Debian's package ovmf is not installed or not readable`);
    return undefined;
  }
  if (toHex(BANKS.sha256.hash(bytes)) === SEV.files[name]?.sha256) return bytes;
  console.log(`skipped: the installed ${name} is of another package version`);
  return undefined;
}

function installed(path: string): Uint8Array | undefined {
  try {
    return Deno.readFileSync(path);
  } catch {
    return undefined;
  }
}

/** `K*100000`: that letter so often; `empty`: a file without content. */
function content(order: string | null): Uint8Array | undefined {
  if (order === null) return undefined;
  const [letter = "", count] = order.split("*");
  return new Uint8Array(Number(count ?? 0)).fill(letter.charCodeAt(0));
}

for (const file of Object.keys(SEV.files)) {
  const cases = SEV.cases.filter((each) => each.firmware === file);
  Deno.test(`measureSev() equals sev-snp-measure on ${cases.length} launches of ${file}`, async () => {
    const bytes = firmware(file);
    if (bytes === undefined) return;
    for (const each of cases) {
      const kernel = content(each.kernel);
      const launch = measureSev({
        mode: MODES[each.mode] as SevMode,
        firmware: bytes,
        cpus: each.vcpus,
        signature: Number(SEV.cpu_signatures_eax[each.cpu]),
        features: Number(each.guest_features),
        vmm: "qemu",
        boot: kernel === undefined ? undefined : {
          kernel,
          initrd: content(each.initrd),
          append: each.append ?? undefined,
        },
      });
      if (each.must_fail !== undefined) await assert.rejects(launch, CocosError);
      else assert.equal((await launch).digest, each.digest, JSON.stringify(each));
    }
  });
}

const IGVM: { cases: { file: string; snp: string; snp_native_zero: string; check_kvm: string }[] } =
  JSON.parse(ownText("measure/igvm-digests.json"));

async function igvmFile(name: string): Promise<Uint8Array | undefined> {
  if (!name.includes("gunzip")) return vector(`measure/${name}`);
  const packed = vector("measure/synthetic-with-ovmf.igvm.gz");
  if (packed === undefined) return undefined;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

for (const { file, snp, snp_native_zero, check_kvm } of IGVM.cases) {
  Deno.test(`measureIgvm() equals igvmmeasure on ${file}`, async () => {
    const bytes = await igvmFile(file);
    if (bytes === undefined) return;
    assert.equal((await measureIgvm(bytes)).digest, snp);
    assert.equal(
      (await measureIgvm(bytes, { nativeZero: true }).catch((error) => {
        // An ID block is for one way of measuring only.
        assert.ok(file.includes("signed") && error instanceof CocosError);
        return { digest: /measures ([0-9a-f]{96})/.exec(error.message)?.[1] };
      })).digest,
      snp_native_zero,
    );
    if (!file.includes("not-last")) {
      assert.equal((await measureIgvm(bytes, { kvm: true })).digest, check_kvm);
      return;
    }
    await assert.rejects(measureIgvm(bytes, { kvm: true }), /pages follow its CPU state/);
    assert.match((await measureIgvm(bytes)).warnings.join(), /Under KVM: \d+ pages follow/);
  });
}
