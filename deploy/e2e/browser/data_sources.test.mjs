// An administrator connects GitHub, Jira and Slack on the page of data sources, without scripts, at the simulated providers.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { assertAccessible } from "./accessibility.mjs";
import { call, launch, logIn, setting } from "./stack.mjs";

const INTEGRATIONS = setting("OAUTH_INTEGRATIONS_URL");

const PROVIDERS = [
  { platform: "github", name: "GitHub", consent: { "Signed in as": "alice", "Install on": "example-corp" } },
  { platform: "jira", name: "Jira", consent: {} },
  { platform: "slack", name: "Slack", consent: {} },
];

describe("the page of data sources", () => {
  let browser, alice;

  before(async () => {
    browser = await launch();
    alice = await logIn("ALICE");
    const { items } = await call(200, "GET", `${INTEGRATIONS}/oauth/installations`, { token: alice });
    for (const { id } of items) await call(200, "DELETE", `${INTEGRATIONS}/oauth/installations/${id}`, { token: alice });
  });

  after(() => browser?.close());

  /** The page, opened by a ticket in a browser of its own. */
  async function open(token, options = {}) {
    const { page_url } = await call(201, "POST", `${INTEGRATIONS}/oauth/page-tickets`, { token });
    const context = await browser.newContext(options);
    const page = await context.newPage();
    await page.goto(page_url);
    assert.equal(new URL(page.url()).search, "", "the ticket has left the address");
    return page;
  }

  const section = (page, name) => page.locator("li", { has: page.getByRole("heading", { name: new RegExp(name) }) });

  for (const { platform, name, consent } of PROVIDERS) {
    test(`${name} is connected, checked and shown as connected`, async () => {
      const page = await open(alice, { javaScriptEnabled: false });
      await section(page, name).getByRole("link", { name: /^Connect OAuth/ }).click();
      await page.locator("form button[type=submit]").first().click();
      // The provider's own pages; an account that is installed already asks once more.
      while (new URL(page.url()).origin !== new URL(INTEGRATIONS).origin) {
        for (const [label, value] of Object.entries(consent)) {
          const field = page.getByLabel(label);
          if (await field.count()) await field.selectOption(value);
        }
        await page.getByRole("button", { name: "Approve" }).click();
      }
      await page.getByRole("heading", { name: new RegExp(`${name}.* connected`, "i"), level: 1 }).waitFor();
      assert.doesNotMatch(page.url(), /code=|state=/, "neither code nor state stay in the address");

      await page.goto(`${INTEGRATIONS}/oauth/data-sources`);
      assert.match(await section(page, name).innerText(), /Connected/);
      await section(page, name).getByRole("button", { name: /^Check/ }).click();
      assert.match(await page.getByRole("status").innerText(), /Connected, just checked/);

      const { items } = await call(200, "GET", `${INTEGRATIONS}/oauth/installations?platform=${platform}`, { token: alice });
      assert.deepEqual(items.map((item) => item.status), ["active"]);
      await page.context().close();
    });
  }

  test("it is accessible, and so are the pages on the way", async () => {
    const page = await open(alice);
    await assertAccessible(page);
    await section(page, "GitHub").getByRole("link", { name: /^Connect another/ }).click();
    await assertAccessible(page);
    await page.goto(`${INTEGRATIONS}/oauth/callback/github?error=access_denied&state=unknown`);
    await assertAccessible(page);
    await page.context().close();
  });

  test("a member sees what is connected and can change nothing", async () => {
    const page = await open(await logIn("BOB"), { javaScriptEnabled: false });
    assert.match(await section(page, "GitHub").innerText(), /Connected/);
    assert.equal(await page.getByRole("link", { name: /Connect/ }).count(), 0);
    assert.match(await page.locator("main").innerText(), /Ask an administrator/);
    await page.context().close();
  });

  test("without a ticket there is no page", async () => {
    const page = await (await browser.newContext()).newPage();
    const response = await page.goto(`${INTEGRATIONS}/oauth/data-sources`);
    assert.equal(response.status(), 401);
    await assertAccessible(page);
    await page.context().close();
  });
});
