// Pages that must keep up with the code: a table in them is compared with the table it tells of.
import assert from "node:assert/strict";
import { CocosError, ERROR_CODES, Status } from "../base/mod.ts";

Deno.test("docs/troubleshooting.md has a row for each error code, with its status, exit code and advice", async () => {
  const page = await Deno.readTextFile(new URL("../docs/troubleshooting.md", import.meta.url));
  const rows = page.split("\n").filter((line) => /^\| `[a-z-]+`/.test(line))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
  const names = Object.fromEntries(Object.entries(Status).map(([name, number]) => [number, name]));
  assert.deepEqual(
    rows.map(([code, status, exit]) => [code, status, exit]),
    ERROR_CODES.map((code) => {
      const { status, exitCode } = new CocosError(code, "");
      return [`\`${code}\``, names[status], String(exitCode)];
    }),
  );
  for (const row of rows) {
    assert.equal(row.length, 5, row[0]);
    for (const cell of row) assert.notEqual(cell, "", `${row[0]} has an empty cell`);
  }
});
