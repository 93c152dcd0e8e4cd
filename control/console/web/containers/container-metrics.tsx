import type { SeriesJson } from "../../../api/schemas-series.ts";
import { RangePicker, useMeasurements, useRange } from "../charts/range-picker.tsx";
import { SavingsTiles } from "../charts/tiles.tsx";
import { SeriesCharts } from "../charts/series-charts.tsx";
import { Failure, Loading } from "../parts/display.tsx";

/** CPU, memory, requests, latency, connections and starts of one container over time. */
export function ContainerMetrics({ id }: { id: string }) {
  const range = useRange();
  const { value: series, error, reload, isLoading } = useMeasurements<SeriesJson>(`/docker/containers/${id}/series?range=${range.range}`);
  return (
    <>
      <div class="tools">
        <RangePicker {...range} />
      </div>
      <Failure error={error} onRetry={reload} />
      {series ? (
        <>
          <SavingsTiles series={series} isLoading={isLoading} />
          <SeriesCharts series={series} charts={["cpu", "memory", "requests", "latency", "connections", "starts", "waiting"]} isLoading={isLoading} />
        </>
      ) : error ? null : (
        <Loading />
      )}
    </>
  );
}
