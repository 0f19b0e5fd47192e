/**
 * What others may know of the agent without being it: which rights its process needs.
 *
 * @example
 * ```ts
 * import { readCommand, rights } from "./mod.ts";
 *
 * const command = readCommand(["--work", "/cocos/work"], () => undefined);
 * if (command.kind === "start") console.log(rights(command.config).join("\n"));
 * ```
 *
 * @module
 */
export { type AgentConfig, type Command, readCommand } from "./config.ts";
export { nameToResolve, rights } from "./rights.ts";
