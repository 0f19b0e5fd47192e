// Every command and flag is in every script, and the shells that are here accept theirs.
import assert from "node:assert/strict";
import { completionScript } from "./completion.ts";
import { build, SHELLS } from "./program.ts";

Deno.test("completionScript() names every command and every long flag", () => {
  for (const shell of SHELLS) {
    const script = completionScript(shell);
    for (const command of build(() => {}).commands) {
      assert.ok(script.includes(command.name()), `${shell}: ${command.name()}`);
      for (const subcommand of command.commands) {
        const word = new RegExp(`${command.name()}.*\\b${subcommand.name()}\\b`);
        assert.match(script, word, `${shell}: ${command.name()} ${subcommand.name()}`);
      }
      const every = [command, ...command.commands].flatMap(({ options }) => options);
      for (const { long } of every) {
        const flag = shell === "fish" ? `-l ${long?.slice(2)}` : long ?? "";
        assert.ok(script.includes(flag), `${shell}: ${flag}`);
      }
    }
  }
});

Deno.test("completionScript() is a script its shell can read", async () => {
  for (const shell of ["bash", "zsh"] as const) {
    let child: Deno.ChildProcess;
    try {
      child = new Deno.Command(shell, { args: ["-n"], stdin: "piped", stderr: "piped" }).spawn();
    } catch (error) {
      assert.ok(error instanceof Deno.errors.NotFound);
      console.log(`skipped: ${shell} is not on this machine`);
      continue;
    }
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(completionScript(shell)));
    await writer.close();
    const { success, stderr } = await child.output();
    assert.ok(success, new TextDecoder().decode(stderr));
  }
});
