import { configuredPostgres } from "../control/store/postgres/address.ts";
import { Fault } from "../lib/fault.ts";
import { loadSettings } from "./command-context.ts";
import { defineVerb, type Verbs } from "./command.ts";

/** `berth store <verb>` */
export const STORE: Verbs = {
  copy: defineVerb({
    words: "",
    summary: "copy the store between the data folder and PostgreSQL, and compare each row; no control process may run",
    details: "The credentials key is not copied: all control processes need it (BERTH_CREDENTIALS_KEY, or credentials.key of the data folder).",
    options: {
      to: { value: "<url>", summary: "an empty PostgreSQL database, as in BERTH_DATABASE_URL, that gets the store of the data folder" },
      from: { value: "<url>", summary: "the PostgreSQL database whose store an empty data folder gets" },
    },
    run: async ({ context, options: { to, from }, screen }) => {
      const url = to ?? from;
      if (url === undefined || (to !== undefined && from !== undefined))
        throw new Fault("SETTINGS_INVALID", "Use either --to or --from, with the URL of a PostgreSQL database: berth store copy --to postgres://…");
      const { settings } = loadSettings(context);
      const postgres = configuredPostgres({ ...settings.database, url });
      if (!postgres) return;
      const { copyFromPostgres, copyToPostgres } = await import("../control/store/postgres/move-store.ts");
      const deps = { folder: settings.data, postgres, clock: context.clock };
      const { rows, files } = to === undefined ? await copyFromPostgres(deps) : await copyToPostgres(deps);
      screen.print(`${rows} rows and ${files} files copied; all rows are equal.`);
      screen.print(
        to === undefined
          ? "Unset BERTH_DATABASE_URL, and start berth."
          : "Set BERTH_DATABASE_URL, and start berth. Keep the data folder: it has keys.",
      );
    },
  }),
};
