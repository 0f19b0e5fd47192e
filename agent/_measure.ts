// What a process uses, read by programs that may look into /proc, which Deno may not.

async function output(command: string, args: string[]): Promise<string> {
  const { success, stdout } = await new Deno.Command(command, { args, stderr: "null" }).output();
  if (!success) throw new Error(`${command} ${args.join(" ")} failed`);
  return new TextDecoder().decode(stdout);
}

/** Resident memory in MiB. */
export async function memoryOf(pid: number): Promise<number> {
  return Number(await output("ps", ["-o", "rss=", "-p", String(pid)])) / 1024;
}

/** Open descriptors and threads. */
export async function handlesOf(pid: number): Promise<{ files: number; threads: number }> {
  const [files, threads] = await Promise.all([
    output("ls", [`/proc/${pid}/fd`]),
    output("ls", [`/proc/${pid}/task`]),
  ]);
  const count = (text: string) => text.trim().split("\n").length;
  return { files: count(files), threads: count(threads) };
}

/**
 * How often a text is in a process's memory; `undefined` where that can't be looked into. It is read by
 * Python, which every host of a runner has.
 */
export async function foundInMemory(pid: number, text: string): Promise<number | undefined> {
  // The text comes in two halves, so that the search does not find itself in the argument.
  const script = `import re, sys
pid, word = sys.argv[1], (sys.argv[2] + sys.argv[3]).encode()
count = 0
with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
    for line in maps:
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
        if match is None or "[v" in line:
            continue
        start, end = (int(each, 16) for each in match.groups())
        tail = b""
        while start < end:
            try:
                mem.seek(start)
                block = mem.read(min(end - start, 1 << 20))
            except (OSError, OverflowError, ValueError):
                break
            if not block:
                break
            whole = tail + block
            count += whole.count(word)
            tail = whole[-(len(word) - 1):]
            start += len(block)
print(count)
`;
  const half = text.length >> 1;
  try {
    return Number(
      await output("python3", ["-c", script, String(pid), text.slice(0, half), text.slice(half)]),
    );
  } catch {
    return undefined;
  }
}
