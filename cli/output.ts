import type { Options, OptionValues } from "./command.ts";
import type { Screen } from "./terminal.ts";

/** What a verb gets of its command line. */
type ParsedLine = { words: string[]; options: OptionValues<Options> };

/** `-o json` is `--json`. `-o yaml` is `--json` on a screen that writes YAML. */
export async function withOutputFormat<L extends ParsedLine>(line: L, screen: Screen): Promise<L & { screen: Screen }> {
  const format = line.options["output"] as string | boolean | undefined;
  if (format !== "json" && format !== "yaml") return { ...line, screen };
  const asJson = { ...line, options: { ...line.options, json: true } };
  if (format === "json") return { ...asJson, screen };
  const { stringify } = await import("yaml");
  const json = (value: unknown) => screen.print(stringify(value, { lineWidth: 0 }).replace(/\n$/, ""));
  // The size of a terminal changes: keep the getters of the screen.
  return { ...asJson, screen: Object.create(screen, { json: { value: json } }) as Screen };
}
