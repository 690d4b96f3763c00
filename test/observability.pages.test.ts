/** docs/observability.md lists every metric of ours with its type, labels and meaning, and no other. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { describedMetrics } from './support/described-metrics.ts'

const page = readFileSync(new URL('../docs/observability.md', import.meta.url), 'utf8')
const ours = /^(?!process_|nodejs_|temporal_(?!available$))/

test('every metric is on the page as the code has it', async () => {
  const rows = [...page.matchAll(/^\| `([a-z_]+)` +\| (counter|gauge|histogram) +\| (.*?) *\| (.*?) *\|$/gm)]
  const listed = rows.map(([, name, type, labels = '', what]) => ({
    name,
    type,
    labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label),
    help: what,
  }))
  const metrics = (await describedMetrics()).filter(({ name }) => ours.test(name))
  expect(listed).toEqual(metrics.map(({ name, type, labels, help }) => ({ name, type, labels, help })))
})

test("the page names the SDK's metrics that the dashboard is made of", async () => {
  const named = new Set([...page.matchAll(/`(temporal_[a-z_]+)`/g)].map(([, name]) => name))
  for (const { name } of await describedMetrics()) {
    if (name.startsWith('temporal_')) expect([...named]).toContain(name)
  }
})
