import { defineVerb, type Verbs } from "./command.ts";

/** `berth man` */
export const manVerbs: Verbs = {
  "": defineVerb({
    words: "",
    summary: "print the manual page; berth man | man -l - shows it",
    options: {},
    run: async ({ commands, screen }) => screen.write(await (await import("./man-page.ts")).manPage(commands)),
  }),
};
