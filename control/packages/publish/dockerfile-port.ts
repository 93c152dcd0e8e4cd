import { readFinalStage } from "../../../lib/dockerfile/read-final-stage.ts";

export type DockerfilePort = { port: number | undefined; warnings: string[] };

/** Ports and arguments that one warning names. */
const MAX_NAMED = 10;
const MAX_ARGUMENT_CHARACTERS = 100;

/**
 * The port of a Dockerfile's final stage: its first TCP `EXPOSE`, or that of the earlier stage which it is built from. `path` names the file in the warnings.
 */
export function readDockerfilePort(text: string, path: string): DockerfilePort {
  const { exposed, unreadPorts } = readFinalStage(text);
  const nearest = exposed.find((stage) => stage.length > 0) ?? [];
  const warnings: string[] = [];
  const unknown = new Set(nearest.filter(({ ports }) => ports === undefined).map(({ written }) => written.slice(0, MAX_ARGUMENT_CHARACTERS)));
  for (const written of unknown) warnings.push(`${path}: EXPOSE ${written} is no known port: name a port by its number. It is ignored.`);
  if (unreadPorts > 0) warnings.push(`${path}: EXPOSE has too many arguments; the last ${unreadPorts} are passed over.`);
  // A range is taken for its first port.
  const several = [...new Set(nearest.flatMap(({ ports }) => (ports?.protocol === "tcp" ? ports.first : [])))];
  const [port] = several;
  if (several.length > 1) {
    const more = several.length > MAX_NAMED ? ` and ${several.length - MAX_NAMED} more` : "";
    warnings.push(`${path} exposes ${several.slice(0, MAX_NAMED).join(", ")}${more}; requests go to ${port}.`);
  }
  if (port === undefined) {
    warnings.push(
      `${path} has no EXPOSE: unless its base image exposes a port, or container.json sets port, requests to the container are answered 400.`,
    );
  }
  return { port, warnings };
}
