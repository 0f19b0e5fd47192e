// The page: takes files and values, shows the verdict as the list of its checks. It runs from a file,
// without a server; it has no right to connect anywhere (Content-Security-Policy in index.html).
import { messageOf } from "../../base/mod.ts";
import { byId, made, type PageElement, type PageFile } from "./_dom.ts";
import { type Given, judge, type Judged } from "./judge.ts";

/** Largest file that is read; a bundle with a whole system's IMA list fits. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;

const ROLES = ["bundle", "policy", "evidence"] as const;
const dropped: { [role in (typeof ROLES)[number]]?: PageFile } & { collateral: PageFile[] } = {
  collateral: [],
};

/** The role of a dropped file, by its name; the inputs say it outright. */
function roleOf(name: string): (typeof ROLES)[number] | "collateral" {
  if (/\.(?:der|crt|cer|pem|crl)$/i.test(name)) return "collateral";
  if (/bundle.*\.json$/i.test(name)) return "bundle";
  return /\.json$/i.test(name) ? "policy" : "evidence";
}

function take(role: ReturnType<typeof roleOf>, files: readonly PageFile[]): void {
  if (role === "collateral") dropped.collateral = [...files];
  else if (files[0] === undefined) delete dropped[role];
  else dropped[role] = files[0];
  const lines = [
    ...ROLES.flatMap((each) =>
      dropped[each] === undefined ? [] : [`${each}: ${dropped[each].name}`]
    ),
    ...dropped.collateral.map(({ name }) => `collateral: ${name}`),
  ];
  byId("files").textContent = lines.join(", ");
}

async function bytesOf(file: PageFile): Promise<Uint8Array> {
  if (file.size > MAX_FILE_BYTES) throw new RangeError(`${file.name} is larger than 64 MiB`);
  return new Uint8Array(await file.arrayBuffer());
}

async function given(): Promise<Given> {
  const text = async (file: PageFile | undefined) =>
    file === undefined ? undefined : new TextDecoder().decode(await bytesOf(file));
  const [bundle, policy] = [await text(dropped.bundle), await text(dropped.policy)];
  const value = (id: string) => byId(id).value.trim();
  return {
    ...(bundle === undefined ? {} : { bundle }),
    ...(policy === undefined ? {} : { policy }),
    ...(dropped.evidence === undefined ? {} : { evidence: await bytesOf(dropped.evidence) }),
    collateral: await Promise.all(dropped.collateral.map(bytesOf)),
    reportData: value("reportData"),
    hostData: value("hostData"),
    nonce: value("nonce"),
    time: value("time"),
  };
}

function show({ verdict, bundled, findings, now }: Judged): void {
  const failed = verdict.checks.filter(({ ok, severity }) => !ok && severity !== "advice").length;
  const at = new Date(now).toISOString();
  const simulated = "insecure" in verdict.claims || "simulated" in verdict.claims;
  const holes = findings.filter(({ weight }) => weight === "hole").length;
  const policy = bundled ? "the bundle's own policy" : "the policy";
  const under = bundled ? ` under ${policy}` : "";
  const all = `all ${verdict.checks.length} checks hold`;
  if (!verdict.ok) {
    const few = `${failed} of ${verdict.checks.length} checks failed`;
    word(`NOT trusted as of ${at}: ${few}`, "bad");
  } else if (simulated) word(`INSECURE, simulated: proves nothing, though ${all}`, "bad");
  else if (holes > 0) {
    word(`Nothing to rely on: ${all} as of ${at}, but ${policy} has holes (below)`, "note");
  } else word(`Trusted${under} as of ${at}: ${all}`, "good");
  byId("findings").replaceChildren(
    ...findings.filter(({ weight }) => weight !== "note").map(({ weight, path, message }) =>
      made("li", `${weight}: ${path}: ${message}`, "note")
    ),
  );
  byId("checks").replaceChildren(...verdict.checks.map((check) => {
    const advice = check.severity === "advice";
    if (check.ok) return made("li", `✓ ${check.id}: ${check.actual}`, "good");
    const item = made("li", `${advice ? "!" : "✗"} ${check.id}`, advice ? "note" : "bad");
    const list = made("dl", "");
    const row = (name: string, text: string): PageElement[] => [made("dt", name), made("dd", text)];
    list.append(
      ...row("expected", check.expected),
      ...row("found", check.actual),
      ...(check.remedy === undefined ? [] : row("remedy", check.remedy)),
    );
    item.append(list);
    return item;
  }));
}

function word(text: string, kind: "good" | "note" | "bad"): void {
  const element = byId("word");
  element.textContent = text;
  element.className = kind;
}

for (const role of [...ROLES, "collateral"] as const) {
  const input = byId(role);
  input.addEventListener("change", () => take(role, [...input.files ?? []]));
}
const area = byId("drop");
area.addEventListener("dragover", (event) => {
  event.preventDefault();
  area.classList.add("over");
});
area.addEventListener("dragleave", () => area.classList.remove("over"));
area.addEventListener("drop", (event) => {
  event.preventDefault();
  area.classList.remove("over");
  const files = [...event.dataTransfer?.files ?? []];
  for (const role of ROLES) {
    const found = files.find(({ name }) => roleOf(name) === role);
    if (found !== undefined) take(role, [found]);
  }
  const rest = files.filter(({ name }) => roleOf(name) === "collateral");
  if (rest.length > 0) take("collateral", rest);
});
byId("judge").addEventListener("click", async () => {
  word("…", "note");
  byId("checks").replaceChildren();
  byId("findings").replaceChildren();
  try {
    show(await judge(await given(), Date.now()));
  } catch (error) {
    word(messageOf(error), "bad");
  }
});
