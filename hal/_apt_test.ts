// The machine's sources in both of apt's formats, and what is made of them.
import assert from "node:assert/strict";
import { acquireSettings, parseDeb822, parseMadison, parseOneLine, parseUris } from "./_apt.ts";
import { privateSources } from "./_apt.ts";

const DEB822 = `# made by an installer
Types: deb deb-src
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://security.test/debian-security
Suites:
 bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://off.test/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.test/debian
Suites: bookworm
Components: main
`;

const ONE_LINE = `# deb http://commented.test/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://mirror.test/debian bookworm main contrib # x
deb-src http://mirror.test/debian bookworm main
deb http://security.test/debian-security bookworm-security main
deb http://vendor.test/apt stable main
`;

const BOOKWORM = {
  suite: "bookworm",
  moreSuites: ["bookworm-updates", "bookworm-backports"],
  components: ["main"],
};

Deno.test("parseDeb822() reads stanzas, continued fields, and leaves out what is off", () => {
  assert.deepEqual(parseDeb822(DEB822), [
    {
      uris: ["http://mirror.test/debian"],
      suites: ["bookworm", "bookworm-updates"],
      components: ["main", "contrib"],
      signedBy: "/usr/share/keyrings/debian-archive-keyring.gpg",
    },
    {
      uris: ["http://security.test/debian-security"],
      suites: ["bookworm-security"],
      components: ["main"],
      signedBy: "",
    },
  ]);
});

Deno.test("parseOneLine() reads options and leaves out comments and sources", () => {
  const sources = parseOneLine(ONE_LINE);
  assert.equal(sources.length, 3);
  assert.deepEqual(sources[0], {
    uris: ["http://mirror.test/debian"],
    suites: ["bookworm"],
    components: ["main", "contrib"],
    signedBy: "/usr/share/keyrings/k.gpg",
  });
});

Deno.test("privateSources() adds backports from the main mirror to both formats", () => {
  assert.equal(
    privateSources(parseOneLine(ONE_LINE), "bookworm", BOOKWORM),
    `deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.test/debian bookworm main
deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.test/debian bookworm-updates main
deb [signed-by=/usr/share/keyrings/k.gpg] http://mirror.test/debian bookworm-backports main
deb http://security.test/debian-security bookworm-security main
`,
  );
  assert.match(
    privateSources(parseDeb822(DEB822), "bookworm", BOOKWORM),
    /mirror\.test\/debian bookworm-backports main\n/,
  );
});

Deno.test("privateSources() takes another suite of the same distribution", () => {
  const newer = parseOneLine("deb http://mirror.test/debian trixie main\n");
  assert.match(privateSources(newer, "trixie", BOOKWORM), /debian bookworm main\n/);
});

Deno.test("privateSources() joins components that stand in lines of their own", () => {
  const parts = parseOneLine(
    "deb http://a.test/u noble main\ndeb http://b.test/u noble universe\n",
  );
  const wanted = { suite: "noble", moreSuites: [], components: ["main", "universe"] };
  assert.equal(
    privateSources(parts, "noble", wanted),
    "deb http://a.test/u noble main\ndeb http://b.test/u noble universe\n",
  );
});

Deno.test("privateSources() says which suite is missing", () => {
  assert.throws(
    () => privateSources(parseOneLine("deb http://v.test/apt stable main"), "bookworm", BOOKWORM),
    /no source .* has the suite bookworm with main/,
  );
});

Deno.test("acquireSettings() keeps proxies and drops hooks", () => {
  const dump = `Acquire::http::Proxy "http://proxy.test:3128";
APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb || true";
Dir::Cache "var/cache/apt";
`;
  assert.equal(acquireSettings(dump), 'Acquire::http::Proxy "http://proxy.test:3128";\n');
});

Deno.test("parseMadison() lists versions with their suites", () => {
  const found = parseMadison(
    `linux-image-amd64 | 6.12.95-1~bpo12+1 | http://m.test/debian bookworm-backports/main amd64 Packages
linux-image-amd64 |  6.1.176-1 | http://m.test/debian bookworm/main amd64 Packages
     linux | 6.1 | http://m.test/debian bookworm/main Sources
`,
  );
  assert.deepEqual([...found], [["linux-image-amd64", [
    { version: "6.12.95-1~bpo12+1", suite: "bookworm-backports" },
    { version: "6.1.176-1", suite: "bookworm" },
  ]]]);
});

Deno.test("parseUris() takes SHA-256 only", () => {
  const sha = "a".repeat(64);
  assert.deepEqual(
    parseUris(
      `'http://m.test/x.deb' x_1%3a2_amd64.deb 12 SHA256:${sha}\n'http://m.test/y' y 1 MD5Sum:1\n`,
    ),
    [{ file: "x_1%3a2_amd64.deb", sha256: sha }],
  );
});
