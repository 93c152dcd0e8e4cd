import { createBudget, type DockerInstruction, expandVariables, parseInstructions, splitWords } from "../../lib/dockerfile.ts";

/** Set the configuration of the image; they run nothing. */
const KEPT = new Set(["ARG", "ENV", "EXPOSE", "HEALTHCHECK", "USER", "WORKDIR", "CMD", "ENTRYPOINT", "LABEL", "STOPSIGNAL", "VOLUME", "SHELL"]);

/** What base images bring along that decides how a container of them starts. The first match counts. */
const BASES: readonly { image: RegExp; lines: readonly string[] }[] = [
  {
    // Datagrok's demo databases are built from the official image.
    image: /^(?:datagrok\/demo_db_\w+|(?:docker\.io\/)?(?:library\/)?postgres)(?::|$)/,
    lines: [
      "ENV PGDATA=/var/lib/postgresql/data",
      "VOLUME /var/lib/postgresql/data",
      "EXPOSE 5432",
      "STOPSIGNAL SIGINT",
      'ENTRYPOINT ["docker-entrypoint.sh"]',
      'CMD ["postgres"]',
    ],
  },
  { image: /^(?:docker\.io\/)?(?:library\/)?node(?::|$)/, lines: ['ENTRYPOINT ["docker-entrypoint.sh"]', 'CMD ["node"]'] },
];

export type MetadataDockerfile = {
  text: string;
  /** The images that the Dockerfile builds upon, those of `COPY --from` too. */
  bases: string[];
  /** The one below the last stage. */
  base: string;
  /** How many instructions are left out. */
  omitted: { run: number; copy: number };
};

/**
 * The same Dockerfile upon `standIn`: the instructions that make the image's configuration, and the files that come from the folder. What needs the
 * network or another image is left out.
 */
export function metadataDockerfile(text: string, standIn: string): MetadataDockerfile {
  const { instructions, escape } = parseInstructions(text);
  const lines = escape === "\\" ? [] : [`# escape=${escape}`];
  const bases: string[] = [];
  const omitted = { run: 0, copy: 0 };
  const globals = new Map<string, string>();
  /** The stages by their names, each with the base below it. */
  const stages = new Map<string, string>();
  let base = "";
  let stage = -1;

  const readers: Partial<Record<string, (instruction: DockerInstruction) => void>> = {
    FROM: ({ args }) => {
      const [image = "", as = "", name = ""] = splitWords(args, escape).filter((word) => !word.startsWith("--"));
      const expanded = expandVariables(image, { value: (of) => globals.get(of), escape, budget: createBudget() }).text;
      const isStage = stages.has(expanded.toLowerCase());
      base = stages.get(expanded.toLowerCase()) ?? expanded;
      if (!isStage) bases.push(expanded);
      stages.set(String(++stage), base);
      if (name !== "") stages.set(name.toLowerCase(), base);
      lines.push(`FROM ${isStage ? expanded : standIn}${as === "" ? "" : ` AS ${name}`}`);
      if (!isStage) lines.push(...(BASES.find(({ image: pattern }) => pattern.test(expanded))?.lines ?? []));
    },
    COPY: (instruction) => {
      const from = /(?:^|\s)--from=(\S+)/.exec(instruction.args)?.[1];
      if (from !== undefined && !stages.has(from.toLowerCase())) bases.push(from);
      if (from !== undefined || /\bhttps?:/.test(instruction.args)) omitted.copy++;
      else
        lines.push(
          `${instruction.keyword} ${splitWords(instruction.args, escape)
            .filter((word) => !word.startsWith("--"))
            .join(" ")}`,
        );
    },
    RUN: () => void omitted.run++,
  };
  readers["ADD"] = readers["COPY"];

  for (const instruction of instructions) {
    const { keyword, args } = instruction;
    if (keyword === "ARG" && stage < 0) for (const [, name = "", value = ""] of args.matchAll(/(\w+)=(\S*)/g)) globals.set(name, value);
    if (readers[keyword]) readers[keyword](instruction);
    else if (KEPT.has(keyword)) lines.push(`${keyword} ${args}`);
  }
  return { text: `${lines.join("\n")}\n`, bases, base, omitted };
}
