import { FILE_SUFFIX } from "./read-env.ts";
import { type Row, rowsOf } from "./row.ts";
import { SETTINGS, SETTINGS_FILE, SETTINGS_FILE_NAME } from "./settings.ts";

const INTRO = `# Settings

<!-- Written by \`npm run docs\` from conf/settings.ts; a test fails when it differs. -->

This page is for administrators. Set each setting as a variable or, under its key, in \`${SETTINGS_FILE}\` in the working folder (or in the file that
\`${SETTINGS_FILE_NAME}\` names). A variable overrides the file; an empty one counts as unset. Dots are nesting: \`dockerSettings.proxyRequestTimeout\` is

\`\`\`yaml
# yaml-language-server: $schema=conf/berth.schema.json
dockerSettings:
  proxyRequestTimeout: 60000
\`\`\`

Settings that begin with \`dockerSettings\` or \`queueSettings\` can also be in the JSON of \`GROK_PARAMETERS\`; berth ignores its other keys. Several variables
of one row are aliases: set one. \`berth config\` prints all values, and where each comes from. Settings marked *later* are read and checked, so that the
configuration of an existing stand works unchanged, but have no effect yet.

A secret can also be a file, as Docker and Kubernetes mount theirs: its variable with \`${FILE_SUFFIX}\` at its end names the file
(\`BERTH_ADMIN_KEY${FILE_SUFFIX}=/run/secrets/admin-key\`). berth reads it at its start, without surrounding white space.

| key | variables | default | values | meaning |
| --- | --- | --- | --- | --- |
`;

/** The page docs/reference/settings.md. */
export function settingsPage(): string {
  return (
    INTRO +
    rowsOf(SETTINGS)
      .map(([key, row]) => `| ${[code(key), row.env.map(code).join("<br>"), fallback(row), row.parse.allowed, says(row)].join(" | ")} |\n`)
      .join("")
  );
}

/** JSON Schema of the settings file, conf/berth.schema.json. */
export function settingsSchema(): string {
  return `${JSON.stringify({ $schema: "http://json-schema.org/draft-07/schema#", title: "berth.yaml", ...objectOf(Object.entries(SETTINGS)) }, null, 2)}\n`;
}

function objectOf(entries: readonly [string, unknown][]): Record<string, unknown> {
  const properties = entries.map(([name, value]): [string, unknown] => {
    const rows = rowsOf({ [name]: value as object });
    const [only] = rows;
    if (rows.length === 1 && only?.[0] === name) return [name, { description: describe(only[1]), ...only[1].parse.schema }];
    return [name, objectOf(Object.entries(value as object))];
  });
  return { type: "object", additionalProperties: false, properties: Object.fromEntries(properties) };
}

function describe(row: Row<unknown>): string {
  return `${row.says}.${row.later === undefined ? "" : ` Later, with ${row.later}.`}`;
}

function says(row: Row<unknown>): string {
  return `${row.says}${row.secret ? "; a secret, never printed" : ""}${row.later === undefined ? "" : ` — *later, with ${row.later}*`}`;
}

function fallback(row: Row<unknown>): string {
  if (row.sameAs !== undefined) return `that of ${code(row.sameAs)}`;
  if (row.default === undefined || row.default === "") return "";
  if (typeof row.default === "boolean") return row.default ? "on" : "off";
  if (Array.isArray(row.default)) return row.default.length === 0 ? "none" : row.default.map(String).map(code).join(", ");
  return code(typeof row.default === "string" ? row.default : JSON.stringify(row.default));
}

function code(text: string): string {
  return `\`${text}\``;
}
