import { render } from "preact";
import { useState } from "preact/hooks";
import { RequestError, send, useRequest, useServerSections } from "./api-client.ts";
import { ContainerList } from "./containers/container-list.tsx";
import { ContainerPage } from "./containers/container-page.tsx";
import type { ConsoleSection, User } from "./entities.ts";
import icon from "./icon.svg";
import { EdgeAddress } from "./edge-address.ts";
import { ImageList, ImagePage } from "./images.tsx";
import { LiveFeed } from "./live-feed.tsx";
import { type ConsolePath, linkTo, useConsolePath } from "./location.ts";
import { OverviewPage } from "./overview/overview-page.tsx";
import { Failure, Loading } from "./parts/display.tsx";
import { NoticeBoard } from "./parts/notices.tsx";
import { RepositoryList, RepositoryPage } from "./registry.tsx";
import { ServerPage } from "./server-page.tsx";
import { SignIn } from "./sign-in.tsx";

/** The sections of the console: their titles in the navigation, and their pages for the rest of the path. */
const SECTIONS: readonly ConsolePage[] = [
  { name: "overview", of: "containers", title: "Overview", page: () => <OverviewPage /> },
  {
    name: "containers",
    title: "Containers",
    page: ([id, tab]) => (id === undefined ? <ContainerList /> : <ContainerPage key={id} id={id} tab={tab} />),
  },
  { name: "images", title: "Images", page: ([id]) => (id === undefined ? <ImageList /> : <ImagePage key={id} id={id} />) },
  {
    name: "registry",
    title: "Registry",
    page: ([name], context) => (name === undefined ? <RepositoryList {...context} /> : <RepositoryPage key={name} name={name} {...context} />),
  },
  { name: "stand", title: "Server", adminsOnly: true, page: () => <ServerPage /> },
];

type ConsolePage = {
  name: ConsoleSection | "overview";
  /** Shown where the server has this section. Undefined: its own. */
  of?: ConsoleSection;
  title: string;
  /** Hidden for others, for whom its API is closed. */
  adminsOnly?: true;
  page(rest: ConsolePath, context: PageContext): preact.JSX.Element;
};

type PageContext = { user: User; withContainers: boolean };

function App() {
  const { server, error, reload } = useServerSections();
  if (error && !server) return <Failure error={error} onRetry={reload} />;
  if (!server) return <Loading />;
  return (
    <EdgeAddress.Provider value={server.edge}>
      <Console names={server.sections} />
    </EdgeAddress.Provider>
  );
}

function Console({ names }: { names: readonly ConsoleSection[] }) {
  const { value: user, error, reload } = useRequest<User>("/users/current");
  const [signedOut, setSignedOut] = useState(false);
  const path = useConsolePath();
  const withContainers = names.includes("containers");

  if (signedOut || (error instanceof RequestError && error.status === 401)) {
    const onSignedIn = () => {
      setSignedOut(false);
      reload();
    };
    return <SignIn hasOwnUsers={withContainers} onSignedIn={onSignedIn} />;
  }
  if (error && !user) return <Failure error={error} onRetry={reload} />;
  if (!user) return <Loading />;

  const sections = SECTIONS.filter(({ name, of = name, adminsOnly }) => names.some((one) => one === of) && (adminsOnly !== true || user.admin));
  const section = sections.find(({ name }) => name === path[0]) ?? sections.find(({ name }) => name === names[0]);
  const signOut = () => void send("/console/sign-out", { method: "POST" }).finally(() => setSignedOut(true));
  const page = (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to content
      </a>
      <header>
        <a class="brand" href={linkTo()}>
          <img src={icon} alt="" width="24" height="24" /> berth
        </a>
        <nav aria-label="Sections">
          {sections.map(({ name, title }) => (
            <a key={name} href={linkTo(name)} aria-current={section?.name === name ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <span class="who">{user.login}</span>
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      </header>
      <main id="main" tabIndex={-1}>
        {section?.page(path.slice(1), { user, withContainers })}
      </main>
    </>
  );
  // The feed contains changes of containers and images only.
  return <NoticeBoard>{withContainers ? <LiveFeed>{page}</LiveFeed> : page}</NoticeBoard>;
}

const root = document.getElementById("app");
if (root) render(<App />, root);
