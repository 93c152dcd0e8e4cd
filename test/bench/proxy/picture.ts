import type { Results } from "./results.ts";
import type { Workload } from "./workloads.ts";

/** What is drawn: the rest stands in the page. */
const DRAWN = ["get", "post64k", "ws125", "down"];
const WIDTH = 760;
const BARS = { left: 190, width: 430, height: 14, gap: 5 };
const STYLE = `
  text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 13px }
  .ours { fill: #0969da } .peer { fill: #9aa4af } .back { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .ours { fill: #58a6ff } .peer { fill: #6e7681 } .back { fill: #0d1117 }
  }`;

/** Bars of processor time, the cheapest first; berth's stand out. Colours follow the reader's scheme. */
export function figuresPicture(results: Results, workloads: readonly Workload[]): string {
  const drawn: string[] = [];
  let y = 24;
  for (const { name, says, unit } of workloads.filter(({ name }) => DRAWN.includes(name) && results.cells.has(name))) {
    const costs = [...(results.cells.get(name)?.keys() ?? [])]
      .flatMap((proxy) => {
        const cost = results.cost(name, proxy);
        return cost === undefined || cost === 0 ? [] : [{ proxy, cost: unit === "GiB" ? cost / 1e6 : cost }];
      })
      .toSorted((a, b) => a.cost - b.cost);
    const most = Math.max(...costs.map(({ cost }) => cost));
    drawn.push(text(16, y, `${says}: ${unit === "GiB" ? "seconds of CPU per GiB" : `µs of CPU per ${unit}`}`, "title"));
    y += 14;
    for (const { proxy, cost } of costs) {
      const length = Math.max(1, Math.round((BARS.width * cost) / most));
      drawn.push(
        text(BARS.left - 8, y + BARS.height - 3, proxy, "", "end"),
        `<rect class="${proxy.startsWith("berth") ? "ours" : "peer"}" x="${BARS.left}" y="${y}" width="${length}" height="${BARS.height}" rx="2"/>`,
        text(BARS.left + length + 6, y + BARS.height - 3, unit === "GiB" ? cost.toFixed(2) : cost.toFixed(1)),
      );
      y += BARS.height + BARS.gap;
    }
    y += 28;
  }
  const height = y - 12;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="Processor time of berth and its peers">
<style>${STYLE}
</style>
<rect class="back" width="${WIDTH}" height="${height}"/>
${drawn.join("\n")}
</svg>
`;
}

function text(x: number, y: number, what: string, kind = "", anchor = "start"): string {
  const escaped = what.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x}" y="${y}"${kind === "" ? "" : ` class="${kind}"`}${anchor === "start" ? "" : ` text-anchor="${anchor}"`}>${escaped}</text>`;
}
