import { type Dockerfile, DockerfileParser, type From, type Instruction } from "dockerfile-ast";

export type DockerfilePort = { port: number | undefined; warnings: string[] };

/**
 * The port of a Dockerfile's final stage: its first TCP `EXPOSE`, or that of the earlier stage which it is built from. `path` names the file in the warnings.
 */
export function readDockerfilePort(text: string, path: string): DockerfilePort {
  const file = DockerfileParser.parse(text);
  const warnings: string[] = [];
  const ports: number[] = [];
  for (const instruction of exposing(file)) {
    for (const argument of instruction.getArguments()) {
      const words = substitute(file, argument.getValue(), argument.getRange().start.line);
      const exposed = words.trim().split(/\s+/).map(readPort);
      if (exposed.includes(undefined))
        warnings.push(`${path}: EXPOSE ${argument.getValue()} is not a port that can be told here; it is passed over.`);
      ports.push(...exposed.filter((port) => port !== undefined && port !== "udp"));
    }
  }
  const several = [...new Set(ports)];
  const [port] = several;
  if (several.length > 1) warnings.push(`${path} exposes ${several.join(", ")}; requests go to ${port}.`);
  if (port === undefined) {
    warnings.push(
      `${path} has no EXPOSE: unless its base image exposes a port, or container.json sets port, requests to the container are answered 400.`,
    );
  }
  return { port, warnings };
}

/** The EXPOSEs of the final stage; where it has none and names an earlier stage in FROM, that one's, and so on. */
function exposing(file: Dockerfile): Instruction[] {
  const stages: { from: From | undefined; exposes: Instruction[] }[] = [];
  for (const instruction of file.getInstructions()) {
    if (instruction.getKeyword() === "FROM") stages.push({ from: instruction as From, exposes: [] });
    else if (instruction.getKeyword() === "EXPOSE") stages.at(-1)?.exposes.push(instruction);
  }
  for (let index = stages.length - 1; index >= 0;) {
    const stage = stages[index];
    if (stage === undefined || stage.exposes.length > 0) return stage?.exposes ?? [];
    const base = stage.from?.getImage()?.toLowerCase();
    // Only stages before this one count, so the search ends.
    index = stages.slice(0, index).findLastIndex(({ from }, at) => from?.getBuildStage()?.toLowerCase() === base || String(at) === base);
  }
  return [];
}

const VARIABLE = /\$(?:\{(\w+)(?::?([-+])([^}]*))?\}|(\w+))/g;

/** `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+other}`, with ARG and ENV as far as the file itself says them. */
function substitute(file: Dockerfile, text: string, line: number): string {
  return text.replace(
    VARIABLE,
    (whole, braced: string | undefined, operator: string | undefined, word: string | undefined, plain: string | undefined) => {
      const value = valueOf(file, braced ?? plain ?? "", line);
      if (operator === "+") return value ? (word ?? "") : "";
      return value || (operator === "-" ? (word ?? "") : whole);
    },
  );
}

/** An ARG without a value takes that of the ARG before the first FROM. */
function valueOf(file: Dockerfile, name: string, line: number): string | undefined {
  const value = file.resolveVariable(name, line);
  if (value !== null) return value;
  const initial = file.getInitialARGs().find((arg) => arg.getProperty()?.getName() === name);
  return initial?.getProperty()?.getValue() ?? undefined;
}

/** `80`, `80/tcp`, and of a range `7000-7002` its first; undefined for what is none of these. */
function readPort(word: string): number | "udp" | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(word);
  const port = Number(match?.[1]);
  if (!match || port < 1 || port > 65_535) return undefined;
  return (match[3] ?? "tcp").toLowerCase() === "tcp" ? port : "udp";
}
