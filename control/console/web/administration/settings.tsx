import { useRequest } from "../api-client.ts";
import type { EffectiveSetting } from "../entities.ts";
import { useConsoleQuery } from "../location.ts";
import { Filter, Search } from "../parts/controls.tsx";
import { type Column, Failure, Loading, MessageText, Table } from "../parts/display.tsx";

const ORIGINS = ["environment", "file", "default"] as const;
const ALL = "all";

/** What berth was started with, and where each value comes from. */
export function SettingsPage() {
  const { value: settings, error, reload } = useRequest<EffectiveSetting[]>("/admin/settings");
  const query = useConsoleQuery();
  const text = query.value("search");
  const origin = query.value("source") || ALL;
  const matching = settings?.filter((setting) => matches(setting, text));
  const shown = matching?.filter((setting) => origin === ALL || setting.origin === origin);
  return (
    <>
      <h1>Settings</h1>
      <p class="quiet">
        In force in the control process that answers. Change a setting as a variable or in the settings file, and restart berth. Secrets are ***.
      </p>
      <Failure error={error} onRetry={reload} />
      <div class="tools">
        <Search label="Search settings" value={text} onChange={(search) => query.set({ search })} />
        <Filter
          label="Source"
          value={origin}
          onChange={(word) => query.set({ source: word === ALL ? "" : word })}
          choices={[ALL, ...ORIGINS].map((word) => ({
            word,
            count: word === ALL ? matching?.length : matching?.filter((setting) => setting.origin === word).length,
          }))}
        />
      </div>
      {shown ? <Table kind="settings" columns={COLUMNS} rows={shown} keyOf={({ key }) => key} /> : error ? null : <Loading />}
      {shown?.length === 0 ? <p class="quiet">No setting matches. Change the search or the source.</p> : null}
    </>
  );
}

const COLUMNS: readonly Column<EffectiveSetting>[] = [
  {
    name: "Setting",
    cell: ({ key, variable, description }) => (
      <div class="setting">
        <strong>{key}</strong>
        <code>{variable}</code>
        <small>
          <MessageText text={description} />.
        </small>
      </div>
    ),
  },
  { name: "Value", cell: ({ value }) => <SettingValue value={value} /> },
  {
    name: "Source",
    cell: ({ origin, source, default: fallback, value }) => (
      <div class="setting">
        {origin === "default" && source === "default" ? <span class="quiet">default</span> : <code>{source}</code>}
        {textOf(value) === textOf(fallback) || origin === "default" ? null : <small>default: {textOf(fallback) ?? "unset"}</small>}
      </div>
    ),
  },
];

function SettingValue({ value }: { value: unknown }) {
  const text = textOf(value);
  return text === undefined ? <span class="quiet">unset</span> : <code>{text}</code>;
}

/** Undefined: unset. */
function textOf(value: unknown): string | undefined {
  if (value === null || value === undefined || (Array.isArray(value) && value.length === 0)) return undefined;
  if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

function matches({ key, variable, description, value, source }: EffectiveSetting, text: string): boolean {
  const all = `${key} ${variable} ${description} ${textOf(value) ?? ""} ${source}`.toLowerCase();
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => all.includes(word));
}
