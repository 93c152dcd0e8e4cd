import type { ContainerSumJson, OverviewJson, SuggestionJson } from "../../../api/schemas-series.ts";
import { useRequest } from "../api-client.ts";
import { RangePicker, useMeasurements, useRange } from "../charts/range-picker.tsx";
import { SeriesCharts } from "../charts/series-charts.tsx";
import { SavingsTiles, Tile } from "../charts/tiles.tsx";
import { coresText, countText, durationText, memoryText, rateText } from "../charts/units.ts";
import { linkTo } from "../location.ts";
import { appearanceOf, Failure, Loading, MessageText, Moment, Section, Table } from "../parts/display.tsx";
import { usePageTitle } from "../parts/page-title.ts";

/** What runs, what fails, and who uses most: of the whole server for administrators, else of the user's own containers. */
export function OverviewPage() {
  usePageTitle("Overview");
  const range = useRange();
  const { value: overview, error, reload, isLoading } = useMeasurements<OverviewJson>(`/docker/overview?range=${range.range}`);
  return (
    <>
      <div class="page-head">
        <h1>Overview</h1>
        <RangePicker {...range} />
      </div>
      <Failure error={error} onRetry={reload} />
      {overview ? <Content overview={overview} isLoading={isLoading} /> : error ? null : <Loading />}
    </>
  );
}

function Content({ overview, isLoading }: { overview: OverviewJson; isLoading: boolean }) {
  const { scope, containers, series, failing, most, largest, slowest, waited } = overview;
  if (Object.keys(containers).length === 0)
    return <p class="quiet">{scope === "own" ? "You have no containers." : "No containers."} Publish a package with a Dockerfile to add one.</p>;
  return (
    <>
      {scope === "own" ? <p class="quiet">Containers that you may manage.</p> : null}
      <Tiles overview={overview} isLoading={isLoading} />
      <SavingsTiles series={series} isLoading={isLoading} />
      {failing.length === 0 ? null : (
        <Section title="Failing">
          <ul class="failing">
            {failing.map(({ id, name, code, message, since }) => (
              <li key={id}>
                <p>
                  <a href={linkTo("containers", id)}>{name}</a> <code>{code}</code> <Moment at={since} />
                </p>
                <p>
                  <MessageText text={message} />
                </p>
              </li>
            ))}
          </ul>
        </Section>
      )}
      <Suggestions />
      <SeriesCharts series={series} charts={["requests", "latency", "starts", "memory", "cpu", "connections"]} isLoading={isLoading} />
      <div class="tables">
        <UseTable title="Most requests" rows={most} columns={[REQUESTS, ERRORS]} />
        <UseTable title="Most memory" rows={largest} columns={[MEMORY, CPU]} />
        <UseTable title="Slowest starts" rows={slowest} columns={[SLOWEST, STARTS]} />
        <UseTable title="Longest waits for starts" rows={waited} columns={[WAITED, WAITS]} />
      </div>
    </>
  );
}

const SUGGESTED = 5;

/** Containers that are worth keeping warm in their usual hours. */
function Suggestions() {
  const { value: suggestions = [] } = useRequest<SuggestionJson[]>("/docker/suggestions");
  if (suggestions.length === 0) return null;
  return (
    <Section title="Suggestions">
      <ul class="reasons">
        {suggestions.slice(0, SUGGESTED).map(({ id, name, usual: { hours, starts, waitSeconds, memoryHours } }) => (
          <li key={id}>
            Keep <a href={linkTo("containers", id)}>{name}</a> warm on {hours.join(", and on ")}? In the last 4 weeks it would have saved{" "}
            {countText(starts)} {starts === 1 ? "cold start" : "cold starts"} ({durationText(waitSeconds * 1_000)} of waiting), and cost{" "}
            {countText(memoryHours)} GiB-hours of memory.
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Tiles({ overview: { containers, series, capacity }, isLoading }: { overview: OverviewJson; isLoading: boolean }) {
  const { totals } = series;
  const count = (look: string) => Object.entries(containers).reduce((sum, [status, n]) => sum + (appearanceOf(status) === look ? n : 0), 0);
  const all = Object.values(containers).reduce((sum, n) => sum + n, 0);
  const seconds = series.time.length * series.step;
  const changing = count("moving");
  return (
    <dl class="tiles" aria-busy={isLoading}>
      <Tile
        name="Running"
        value={countText(count("good"))}
        note={`of ${countText(all)}${changing === 0 ? "" : `, ${changing} starting or stopping`}`}
      />
      <Tile name="Failing" value={countText(count("bad"))} note={count("bad") === 0 ? "none" : "see below"} isWrong={count("bad") > 0} />
      <Tile
        name="Requests"
        value={rateText(totals.requests / seconds)}
        note={totals.requests === 0 ? "none in this time" : `${countText(totals.requests)} in all, ${countText(totals.errors)} with status 5xx`}
      />
      <Tile name="Latency" value={orNone(totals.latencyMedian, durationText)} note={`p95 ${orNone(totals.latencyP95, durationText)}`} />
      <Tile name="Cold starts" value={countText(totals.starts)} note={startsNote(totals)} />
      <Tile name="Open" value={countText(series.connections.at(-1) ?? 0)} note="requests and sockets" />
      <Tile name="Memory" value={orNone(capacity.memory, memoryText)} note={`${memoryText(capacity.memoryReserved)} reserved`} />
      <Tile name="CPU" value={orNone(capacity.cpu, coresText)} note={`${coresText(capacity.cpuReserved)} reserved`} />
    </dl>
  );
}

function startsNote({ starts, startMedian, startP95, failedStarts }: OverviewJson["series"]["totals"]): string {
  const times = starts === 0 ? [] : [`median ${orNone(startMedian, durationText)}`, `p95 ${orNone(startP95, durationText)}`];
  return [...times, ...(failedStarts === 0 ? [] : [`${countText(failedStarts)} failed`])].join(", ") || "none in this time";
}

function orNone(value: number | null, format: (value: number) => string): string {
  return value === null ? "–" : format(value);
}

type UseColumn = { name: string; value(row: ContainerSumJson): string };

const REQUESTS: UseColumn = { name: "Requests", value: ({ requests }) => countText(requests) };
const ERRORS: UseColumn = { name: "Status 5xx", value: ({ errors }) => countText(errors) };
const MEMORY: UseColumn = { name: "Memory", value: ({ memory }) => orNone(memory, memoryText) };
const CPU: UseColumn = { name: "CPU", value: ({ cpu }) => orNone(cpu, coresText) };
const SLOWEST: UseColumn = { name: "Slowest", value: ({ slowestStart }) => durationText(slowestStart) };
const WAITED: UseColumn = { name: "Waited", value: ({ waitSeconds }) => durationText(waitSeconds * 1_000) };
const WAITS: UseColumn = { name: "Requests", value: ({ waits }) => countText(waits) };
const STARTS: UseColumn = { name: "Starts", value: ({ starts }) => countText(starts) };

function UseTable({ title, rows, columns }: { title: string; rows: readonly ContainerSumJson[]; columns: readonly UseColumn[] }) {
  return (
    <Section title={title}>
      {rows.length === 0 ? (
        <p class="quiet">None in this time.</p>
      ) : (
        <Table
          rows={rows}
          keyOf={({ id }) => id}
          columns={[
            { name: "Container", cell: ({ id, name }) => <a href={linkTo("containers", id)}>{name}</a> },
            ...columns.map(({ name, value }) => ({ name, isNumber: true as const, cell: value })),
          ]}
        />
      )}
    </Section>
  );
}
