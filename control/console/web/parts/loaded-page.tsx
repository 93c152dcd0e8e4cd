import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { User } from "../entities.ts";
import type { ConsolePath } from "../location.ts";
import { Failure, Loading } from "./display.tsx";
import { usePageTitle } from "./page-title.ts";

/** Of a page of administrators. `rest`: what follows its name in the address. Here, so that pages do not import their list, which loads them. */
export type AdminPageProps = { rest: ConsolePath; user: User };

type LoadedPageProps<P> = {
  title: string;
  /** The same function at each call. */
  load(): Promise<ComponentType<P>>;
  props: P;
};

/** A page in a chunk of its own, which is loaded when the page is opened. */
export function LoadedPage<P extends object>({ title, load, props }: LoadedPageProps<P>) {
  const [loaded, setLoaded] = useState<{ Content: ComponentType<P> }>();
  const [isFailed, setIsFailed] = useState(false);
  usePageTitle(title);
  useEffect(() => {
    let isGone = false;
    load().then(
      (Content) => isGone || setLoaded({ Content }),
      () => isGone || setIsFailed(true),
    );
    return () => {
      isGone = true;
    };
  }, [load]);
  if (loaded) return <loaded.Content {...props} />;
  if (!isFailed) return <Loading />;
  // A browser does not load a module again that failed once, and after an upgrade of berth the file has another name.
  return <Failure error={new Error(`The page ${title} did not load.`)} onRetry={() => location.reload()} />;
}
