/** `npm run docs`: writes what is generated from the table of settings. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { settingsPage, settingsSchema } from "./settings-docs.ts";

writeFileSync(join(import.meta.dirname, "settings.md"), settingsPage());
writeFileSync(join(import.meta.dirname, "berth.schema.json"), settingsSchema());
