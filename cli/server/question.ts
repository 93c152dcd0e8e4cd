import { type Completes, type Given, type Options, verb, type Verb } from "../verb.ts";
import type { Screen } from "../terminal/screen.ts";
import type { CallControl } from "./server-client.ts";
import { JSON_OPTION, SERVER_OPTIONS, serverOf } from "./server-command.ts";

/** A verb that is one question to the server: with --json its answer is printed as it is, else as `shows` words it. */
export function question<const O extends Options, T>(of: {
  words: string;
  says: string;
  options: O;
  completes?: Completes;
  ask(call: CallControl, words: string[], given: Given<O>, screen: Screen): Promise<T>;
  shows(answer: T, words: string[], screen: Screen): string;
}): Verb {
  const { words, says, options, completes } = of;
  return verb({
    words,
    says,
    options: { ...SERVER_OPTIONS, ...JSON_OPTION, ...options },
    ...(completes === undefined ? {} : { completes }),
    run: async ({ here, words, given, screen }) => {
      const said = given as { server?: string; key?: string; "key-file"?: string; json?: boolean };
      const answer = await of.ask(serverOf(here, said).call, words, given, screen);
      if (said.json) screen.json(answer);
      else screen.print(of.shows(answer, words, screen));
    },
  });
}
