// Completion scripts for shells, written from the tree of commands so that they can't drift from it.
import type { Command } from "commander";
import { build, type Invocation } from "./program.ts";

type Shell = (Invocation & { command: "completion" })["shell"];

interface Entry {
  readonly name: string;
  readonly description: string;
  readonly flags: readonly string[];
  /** Names of its subcommands. */
  readonly words: readonly string[];
}

/** The completion script for a shell; it is `eval`ed or put where the shell looks. */
export function completionScript(shell: Shell): string {
  const program = build(() => {});
  const common = [...flagsOf(program), "--help"];
  const entries: Entry[] = program.commands.map((command) => ({
    name: command.name(),
    description: command.description(),
    flags: [...new Set([command, ...command.commands].flatMap(flagsOf)), ...common],
    words: command.commands.map((each) => each.name()),
  }));
  switch (shell) {
    case "bash":
      return bash(entries, common);
    case "zsh":
      return zsh(entries);
    case "fish":
      return fish(entries);
  }
}

function flagsOf(command: Command): string[] {
  return command.options.map((option) => option.long).filter((flag) => typeof flag === "string");
}

function bash(entries: readonly Entry[], common: readonly string[]): string {
  const names = entries.map(({ name }) => name).join(" ");
  return `_cocos() {
  local word="\${COMP_WORDS[COMP_CWORD]}" flags="" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${names} ${common.join(" ")}" -- "$word"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${
    entries.map(({ name, flags, words }) =>
      `    ${name}) flags="${flags.join(" ")}" words="${words.join(" ")}" ;;`
    ).join("\n")
  }
  esac
  if [ "$COMP_CWORD" -eq 2 ] && [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    return
  fi
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _cocos cocos cocos-cli
`;
}

function zsh(entries: readonly Entry[]): string {
  const quoted = (text: string) => text.replaceAll("'", "").replaceAll(":", "\\:");
  return `#compdef cocos cocos-cli
_cocos() {
  if (( CURRENT == 2 )); then
    local -a commands
    commands=(
${entries.map(({ name, description }) => `      '${name}:${quoted(description)}'`).join("\n")}
    )
    _describe command commands
    return
  fi
  case "$words[2]" in
${
    entries.map(({ name, flags, words }) =>
      `    ${name}) ${
        words.length === 0
          ? ""
          : `(( CURRENT == 3 )) && { compadd -- ${words.join(" ")}; return }; `
      }[[ "$PREFIX" == -* ]] && compadd -- ${flags.join(" ")} || _files ;;`
    ).join("\n")
  }
  esac
}
compdef _cocos cocos cocos-cli
`;
}

function fish(entries: readonly Entry[]): string {
  const lines: string[] = [];
  for (const program of ["cocos", "cocos-cli"]) {
    for (const { name, description, flags, words } of entries) {
      lines.push(
        `complete -c ${program} -n __fish_use_subcommand -a ${name} -d '${
          description.replaceAll("'", "")
        }'`,
      );
      for (const word of words) {
        lines.push(`complete -c ${program} -n '__fish_seen_subcommand_from ${name}' -a ${word}`);
      }
      for (const flag of flags) {
        lines.push(
          `complete -c ${program} -n '__fish_seen_subcommand_from ${name}' -l ${flag.slice(2)}`,
        );
      }
    }
  }
  return `${lines.join("\n")}\n`;
}
