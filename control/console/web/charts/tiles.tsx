import type { SeriesJson } from "../../../api/schemas-series.ts";
import { countText, durationText, hoursText } from "./units.ts";

export function Tile({ name, value, note, isWrong }: { name: string; value: string; note: string; isWrong?: boolean }) {
  return (
    <div class={isWrong ? "tile wrong" : "tile"}>
      <dt>{name}</dt>
      <dd>
        <strong>{value}</strong>
        <small>{note}</small>
      </dd>
    </div>
  );
}

/** What sleeping saved against running always, and what cold starts cost users. */
export function SavingsTiles({ series: { savings, totals }, isLoading }: { series: SeriesJson; isLoading: boolean }) {
  return (
    <dl class="tiles pair" aria-busy={isLoading}>
      <Tile
        name="Saved by sleeping"
        value={hoursText(savings.sleepHours)}
        note={`${countText(savings.sleepMemoryHours)} GiB-hours of memory; ran for ${hoursText(savings.runHours)}`}
      />
      <Tile
        name="Waited for starts"
        value={durationText(totals.waitSeconds * 1_000)}
        note={totals.waits === 1 ? "1 request" : `${countText(totals.waits)} requests, together`}
      />
    </dl>
  );
}
