// The page in a real Chromium, from a file and without a server: the verdict of real evidence, a
// changed byte, hostile texts, and a policy of the page that lets it connect nowhere.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type Browser, chromium, type Page } from "playwright-core";
import { formatBundle } from "../bundle.ts";
import { formatPolicy } from "../policy/mod.ts";
import { snpPolicy, TCB_ZERO, tdxPolicy } from "../mod.ts";
import { ownVector } from "../testdata/vectors.ts";
import { judge } from "./judge.ts";

const HERE = new URL(".", import.meta.url);
/** Debian's; the tests use no browser that something else installed. */
const CHROMIUM = "/usr/bin/chromium";

const REPORT = ownVector("snp/milan-v2-vcek-report.bin");
const LEAF = ownVector("snp/milan-v2-vcek.der");
const hexAt = (from: number, length: number) =>
  [...REPORT.subarray(from, from + length)].map((byte) => byte.toString(16).padStart(2, "0")).join(
    "",
  );
const REPORT_DATA = hexAt(0x50, 64);
const snp = snpPolicy({
  products: ["Milan"],
  measurement: [hexAt(0x90, 48)],
  revocation: "any",
  guest: { smt: "any" },
  reportIdMa: "any",
  firmware: { provisional: "any" },
  vmpl: "any",
  tcb: { reported: TCB_ZERO },
});
const POLICY = formatPolicy({ name: "page", snp });
const TIME = "2026-06-01T00:00:00Z";
const NOTHING = { collateral: [], reportData: "", hostData: "", nonce: "", time: TIME };

/** Builds the page as the task does. */
async function built(folder: string): Promise<void> {
  const bundle = new Deno.Command(Deno.execPath(), {
    args: [
      "bundle",
      "--quiet",
      `--import-map=${new URL("imports.json", HERE).pathname}`,
      "--platform=browser",
      "--format=iife",
      "--minify",
      `--output=${folder}/page.js`,
      new URL("page.ts", HERE).pathname,
    ],
    stderr: "piped",
  });
  const { success, stderr } = await bundle.output();
  assert.ok(success, new TextDecoder().decode(stderr));
  for (const name of ["index.html", "page.css"]) {
    await Deno.copyFile(new URL(name, HERE), `${folder}/${name}`);
  }
}

/** The page open in a browser of its own, from the file system. */
async function opened(
  work: (page: Page, log: string[], folder: string) => Promise<void>,
): Promise<void> {
  try {
    await Deno.stat(CHROMIUM);
  } catch {
    console.log("skipped: Chromium is not installed (apt-get install chromium)");
    return;
  }
  const folder = await Deno.makeTempDir({ prefix: "cocos-page-" });
  let browser: Browser | undefined;
  try {
    await built(folder);
    browser = await chromium.launch({ executablePath: CHROMIUM });
    const page = await browser.newPage();
    const log: string[] = [];
    page.on("console", (message) => log.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => log.push(`error: ${error.message}`));
    page.on("request", (request) => log.push(`request: ${new URL(request.url()).protocol}`));
    await page.goto(`file://${folder}/index.html`);
    await work(page, log, folder);
  } finally {
    await browser?.close();
    await Deno.remove(folder, { recursive: true });
  }
}

const file = (name: string, content: Uint8Array | string) => ({
  name,
  mimeType: "application/octet-stream",
  buffer: Buffer.from(content as Uint8Array),
});

async function appraise(page: Page): Promise<string> {
  await page.click("#judge");
  await page.waitForFunction(() => {
    const { document } = globalThis as unknown as {
      document: { getElementById(id: string): { textContent: string } };
    };
    return document.getElementById("word").textContent.length > 1;
  });
  return await page.textContent("#word") ?? "";
}

const BROWSER = { sanitizeResources: false, sanitizeOps: false } as const;

Deno.test({
  name: "the page appraises real evidence in Chromium, from a file, and connects nowhere",
  ...BROWSER,
  fn: () =>
    opened(async (page, log) => {
      await page.setInputFiles("#policy", file("policy.json", POLICY));
      await page.setInputFiles("#evidence", file("report.bin", REPORT));
      await page.setInputFiles("#collateral", [file("vcek.der", LEAF)]);
      await page.fill("#reportData", REPORT_DATA);
      await page.fill("#time", TIME);
      const word = await appraise(page);
      assert.match(word, /^Trusted as of 2026-06-01T00:00:00\.000Z: all \d+ checks hold$/);
      const lines = await page.locator("#checks > li").allTextContents();
      const here = await judge({
        ...NOTHING,
        policy: POLICY,
        evidence: REPORT,
        collateral: [LEAF],
        reportData: REPORT_DATA,
      }, 0);
      assert.deepEqual(lines, here.verdict.checks.map(({ id, actual }) => `✓ ${id}: ${actual}`));
      assert.match(await page.textContent("#findings") ?? "", /weakness: snp\.revocation/);

      await page.setInputFiles("#evidence", file("report.bin", REPORT.with(0x91, 0)));
      assert.match(await appraise(page), /^NOT trusted as of /);
      const failed = await page.locator("#checks > li.bad").allTextContents();
      assert.ok(failed.some((text) => text.startsWith("✗ snp.signature")), failed.join());
      assert.ok(failed.some((text) => text.startsWith("✗ snp.measurement")));
      assert.deepEqual([...new Set(log)], ["request: file:"]);
    }),
});

Deno.test({
  name: "the page judges a dropped bundle by its own policy or the person's",
  ...BROWSER,
  fn: () =>
    opened(async (page) => {
      const bundle = formatBundle({
        policy: { name: "b", snp },
        evidence: { snp: REPORT },
        session: {
          now: Date.parse(TIME),
          reportData: Uint8Array.from(REPORT.subarray(0x50, 0x90)),
        },
        collateral: { snp: { leaf: LEAF } },
      });
      const files = [["my-bundle.json", bundle]] as [string, string][];
      const drop = (list: [string, string][]) =>
        page.evaluate((items) => {
          // deno-lint-ignore no-explicit-any
          const { DataTransfer, File, DragEvent, document } = globalThis as any;
          const transfer = new DataTransfer();
          for (const [name, text] of items) transfer.items.add(new File([text], name));
          document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", { dataTransfer: transfer, cancelable: true }),
          );
        }, list);
      await drop(files);
      assert.equal(await page.textContent("#files"), "bundle: my-bundle.json");
      assert.match(await appraise(page), /^Trusted under the bundle's own policy as of 2026-06-01/);
      await page.fill("#reportData", "11".repeat(64));
      assert.match(await appraise(page), /^NOT trusted .*: 1 of \d+ checks failed$/);
      await page.fill("#reportData", "");
      const open = bundle.replaceAll(/"measurement": \[[^\]]*\]/g, '"measurement": "any"');
      await drop([["open-bundle.json", open]]);
      assert.match(
        await appraise(page),
        /^Nothing to rely on: all \d+ checks hold as of .*, but the bundle's own policy has holes/,
      );
      assert.equal(await page.getAttribute("#word", "class"), "note");
      await drop(files);
      await drop([[
        "policy.json",
        POLICY.replaceAll(/"measurement": \[[^\]]*\]/g, `"measurement": ["${"01".repeat(48)}"]`),
      ]]);
      assert.match(await appraise(page), /^NOT trusted .*: 1 of \d+ checks failed$/);
    }),
});

Deno.test({
  name:
    "A-11 A-14 the page says what is wrong with files, and no text of them becomes markup or code",
  ...BROWSER,
  fn: () =>
    opened(async (page, log) => {
      assert.match(await appraise(page), /give a policy, or a bundle/);
      await page.setInputFiles("#policy", file("p.json", "{}"));
      assert.match(await appraise(page), /Cannot take over the policy: it names no product line/);
      await page.setInputFiles("#policy", file("p.json", ""));
      assert.match(await appraise(page), /^Cannot read a policy/);
      const markup = POLICY.replace('"page"', '"<img src=x onerror=alert(1)>"');
      await page.setInputFiles("#policy", file("p.json", markup));
      assert.match(await appraise(page), /give evidence/);
      await page.setInputFiles("#evidence", file("<img src=x onerror=alert(1)>.bin", REPORT));
      await page.setInputFiles("#collateral", [
        file("x.der", new Uint8Array([0x30, 0x03, 1, 2, 3])),
      ]);
      assert.match(await appraise(page), /^Cannot read a certificate/);
      await page.setInputFiles("#collateral", []);
      await page.fill("#reportData", "xyz");
      assert.match(await appraise(page), /reportData: it must be hexadecimal/);
      await page.fill("#reportData", "");
      await page.fill("#time", "later");
      assert.match(await appraise(page), /Cannot read the time/);
      await page.fill("#time", TIME);
      assert.match(await appraise(page), /^NOT trusted/);
      assert.equal(await page.locator("img").count(), 0);
      assert.deepEqual([...new Set(log)], ["request: file:"]);
    }),
});

Deno.test({
  name: "the page's policy stops inline script, other scripts and every connection",
  ...BROWSER,
  fn: () =>
    opened(async (page, _log, folder) => {
      const reached: string[] = [];
      await using server = Deno.serve(
        { hostname: "127.0.0.1", port: 0, onListen: () => {} },
        ({ url }) => {
          reached.push(url);
          return new Response("", { headers: { "access-control-allow-origin": "*" } });
        },
      );
      const target = `http://127.0.0.1:${server.addr.port}/x.png`;
      const ran = await page.evaluate(async (target) => {
        // deno-lint-ignore no-explicit-any
        const g = globalThis as any;
        const blocked: string[] = [];
        g.document.addEventListener(
          "securitypolicyviolation",
          (event: { effectiveDirective: string }) => blocked.push(event.effectiveDirective),
        );
        const inline = g.document.createElement("script");
        inline.textContent = "globalThis.inlineRan = true";
        g.document.body.append(inline);
        const styled = g.document.createElement("style");
        styled.textContent = "body { display: none }";
        g.document.body.append(styled);
        const connected = await g.fetch(target).then(() => true, () => false);
        const image = g.document.createElement("img");
        image.src = target;
        g.document.body.append(image);
        await new Promise((done) => {
          image.addEventListener("error", done);
        });
        return { blocked: [...new Set(blocked)].sort(), inline: g.inlineRan ?? false, connected };
      }, target);
      assert.deepEqual(ran, {
        blocked: ["connect-src", "img-src", "script-src-elem", "style-src-elem"],
        inline: false,
        connected: false,
      });
      assert.deepEqual(reached, []);
      const html = await Deno.readTextFile(`${folder}/index.html`);
      assert.doesNotMatch(html, /<script>|<style|\son[a-z]+=|style=|javascript:/i);
    }),
});

Deno.test("judge() takes a policy of the Go programs, and says what that leaves open", async () => {
  const seed = {
    policy: {
      policy: 0x3001f,
      vmpl: 0,
      measurement: btoa(String.fromCharCode(...REPORT.subarray(0x90, 0xc0))),
    },
    root_of_trust: { product_line: "Milan" },
  };
  const { verdict, findings } = await judge({
    ...NOTHING,
    policy: JSON.stringify(seed),
    evidence: REPORT,
    collateral: [LEAF],
    reportData: REPORT_DATA,
  }, 0);
  assert.equal(verdict.checks.find(({ id }) => id === "snp.measurement")?.ok, true);
  assert.ok(findings.some(({ path }) => path === "policy.minimum_tcb"));
});

Deno.test("A-3 judge() reads evidence as what the policy demands, whatever it looks like", async () => {
  const any = "any" as const;
  const tdx = tdxPolicy({ mrTd: any, rtmr0: any, rtmr1: any, rtmr2: any, rtmr3: any });
  const { verdict } = await judge({
    ...NOTHING,
    policy: formatPolicy({ name: "t", tdx }),
    evidence: REPORT,
  }, 0);
  assert.deepEqual([verdict.ok, verdict.checks[1]?.id], [false, "tdx.format"]);
});

Deno.test("the page is built without a module that a browser has not", async () => {
  const folder = await Deno.makeTempDir({ prefix: "cocos-page-" });
  try {
    await built(folder);
    const code = await Deno.readTextFile(`${folder}/page.js`);
    assert.doesNotMatch(code, /node:|Deno\./);
    assert.ok(code.length < 400_000, `${code.length} bytes`);
    const { imports } = JSON.parse(await Deno.readTextFile(new URL("imports.json", HERE)));
    const root = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", HERE)));
    for (const [name, to] of Object.entries<string>(imports)) {
      if (!name.startsWith("@")) continue;
      const pinned = root.imports[name.replace(/\/$/, "")];
      assert.equal(to, `${pinned.replace("npm:", "npm:/")}/`, "pins differ from the project's");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
