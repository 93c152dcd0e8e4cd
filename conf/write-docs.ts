/** `npm run docs`: writes what is generated from the tables of settings, metrics and faults, and from what is asked of the gateway and of drivers; and the command line's pages. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { correctnessPage } from "../test/correctness/page.ts";
import { driversPage } from "../test/drivers/conformance/page.ts";
import { commandsPage } from "../cli/commands-page.ts";
import { containerSchema } from "../control/packages/publish/container-json.ts";
import { faultsPage, metricsPage, settingsPage, settingsSchema } from "./reference-pages.ts";

writeFileSync(join(import.meta.dirname, "../docs/reference/settings.md"), settingsPage());
writeFileSync(join(import.meta.dirname, "berth.schema.json"), settingsSchema());
writeFileSync(join(import.meta.dirname, "container.schema.json"), `${JSON.stringify(containerSchema(), null, 2)}\n`);
writeFileSync(join(import.meta.dirname, "../docs/reference/metrics.md"), metricsPage());
writeFileSync(join(import.meta.dirname, "../docs/reference/faults.md"), faultsPage());
writeFileSync(join(import.meta.dirname, "../docs/reference/correctness.md"), correctnessPage());
writeFileSync(join(import.meta.dirname, "../docs/reference/drivers.md"), driversPage());
writeFileSync(join(import.meta.dirname, "../docs/reference/cli.md"), await commandsPage());
