import { readDockerfilePort } from "../../../control/packages/publish/folders.ts";
import { parseDockerfile } from "../../../drivers/process/resolve.ts";
import { MAX_DOCKERFILE_BYTES } from "../../../lib/dockerfile.ts";
import { Fault } from "../../../lib/fault.ts";
import { type InputCase, pumped } from "./input-case.ts";

const PIECES = [
  "FROM a\n",
  "FROM a AS a\n",
  "ENV A=$A$A\n",
  "ENV A=12345678",
  "EXPOSE ",
  "EXPOSE 1-65535\n",
  "WORKDIR ",
  "RUN ",
  "<<a ",
  "$A",
  "${A",
  ":-",
  "}",
  "\\",
  "\\\n",
  "\n",
  " ",
  "\t",
  "#",
  '"',
  "'",
  "=",
  "x",
  "8",
];

const read = (text: string) => {
  readDockerfilePort(text, "dockerfiles/app/Dockerfile");
  try {
    parseDockerfile(text);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
  }
};

const fill = (line: string, head = "FROM a\n") => head + line.repeat(Math.floor((MAX_DOCKERFILE_BYTES - head.length) / line.length));

const WORST: Readonly<Record<string, string>> = {
  "variables and ports": fill("ENV A=1\nEXPOSE $A\n"),
  "values that double": fill("ENV A=$A$A\n", "FROM a\nENV A=12345678\n"),
  "nested defaults": fill("EXPOSE ${a-${a-${a-${a-1}}}}\n"),
  "whole port ranges": fill("EXPOSE 1-65535\n"),
  "words that are no port": fill("EXPOSE x\n"),
  "stages and variables": fill("FROM a AS a\nENV a=a\n"),
  "one long value many times": `FROM a\nENV A=${"x".repeat(32_000)}\nENV B=${"$A".repeat(16_000)}`,
  "defaults that never end": `FROM a\nEXPOSE ${"${a-".repeat(16_000)}`,
  "continued empty lines": fill("\\\n\n"),
  "quotes that never end": fill('ENV "a\n'),
  "here-documents": `RUN ${"<<a ".repeat(8_000)}\n${"a\n".repeat(16_000)}`,
};

export const cases: InputCase[] = Object.entries(WORST).map(([name, worst]) =>
  pumped(`Dockerfile: ${name}`, { limit: MAX_DOCKERFILE_BYTES, pieces: PIECES, worst, read }),
);
// One search covers them all.
for (const one of cases.slice(1)) delete one.search;
