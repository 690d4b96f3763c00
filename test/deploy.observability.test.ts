/** Alert rules and dashboard: their queries name only what /metrics shows, and Prometheus accepts them. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { serveHttp } from '../api/server.ts'
import { freePorts, loopback } from '../dev/free-ports.ts'
import { findExecutable } from '../scripts/run.mjs'
import { startTestApi } from './support/api-app.ts'
import { temporaryFolder } from './support/folders.ts'
import { requirement } from './support/require.ts'
import { start, until } from './support/started.ts'

const root = fileURLToPath(new URL('../', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')

const Rules = z.object({
  groups: z.array(
    z.object({
      rules: z.array(
        z.object({
          alert: z.string(),
          expr: z.string(),
          labels: z.object({ severity: z.enum(['critical', 'warning']) }),
          annotations: z.object({ summary: z.string() }),
        }),
      ),
    }),
  ),
})
const Dashboard = z.object({
  uid: z.literal('perdure'),
  panels: z.array(
    z.object({
      title: z.string(),
      datasource: z.object({ uid: z.string() }),
      targets: z.array(z.object({ expr: z.string() })).min(1),
    }),
  ),
})

const alerts = Rules.parse(parse(read('deploy/prometheus/alerts.yml'))).groups.flatMap(({ rules }) => rules)
const { panels } = Dashboard.parse(JSON.parse(read('deploy/grafana/perdure.json')))
const queries = [
  ...alerts.map(({ alert, expr }): [string, string] => [alert, expr]),
  ...panels.flatMap(({ title, targets }) => targets.map(({ expr }): [string, string] => [title, expr])),
]

describe('what is watched', () => {
  test.each(queries)('%s: every metric and label is one that a process shows', async (_, expr) => {
    const shown = await metricsOfAnApi()
    const used = namesIn(expr)
    expect(used.metrics.length).toBeGreaterThan(0)
    for (const name of used.metrics) expect([...shown.keys()], name).toContain(name)
    const labels = used.metrics.flatMap((name) => shown.get(name) ?? [])
    for (const label of used.labels) expect([...labels, 'job', 'instance', 'le']).toContain(label)
  })

  test('the operations guide says what to do for each alert', () => {
    const guide = read('docs/operations.md')
    for (const { alert } of alerts) expect(guide).toContain(`\`${alert}\``)
  })

  test('the dashboard reads the data source that is provisioned', () => {
    const { datasources } = z
      .object({ datasources: z.array(z.object({ uid: z.string() })) })
      .parse(parse(read('deploy/compose/grafana/provisioning/datasources/prometheus.yml')))
    for (const { datasource } of panels) expect(datasource.uid).toBe(datasources[0]?.uid)
  })
})

const promtool = findExecutable('promtool')
const tools = requirement('promtool', () => promtool !== undefined || 'it is not installed')

tools.test('Prometheus accepts its settings, the alert rules and every query of the dashboard', () => {
  const folder = temporaryFolder('promtool')
  const settings = read('deploy/compose/prometheus.yml').replace(
    '/etc/prometheus/',
    `${root}deploy/prometheus/`,
  )
  writeFileSync(join(folder, 'prometheus.yml'), settings)
  const rules = panels.flatMap(({ targets }, panel) =>
    targets.map(({ expr }, n) => ({
      record: `panel:${panel}:${n}`,
      expr: expr.replaceAll('$__rate_interval', '1m'),
    })),
  )
  writeFileSync(join(folder, 'panels.yml'), JSON.stringify({ groups: [{ name: 'panels', rules }] }))
  check('config', join(folder, 'prometheus.yml'))
  check('rules', join(root, 'deploy/prometheus/alerts.yml'))
  check('rules', join(folder, 'panels.yml'))
})

const prometheus = findExecutable('prometheus')
const server = requirement('promtool', () => prometheus !== undefined || 'prometheus is not installed')

/** Counted by workers and by what ends predictions: an API that has seen none shows the names without values. */
const countedElsewhere = /predictions_total|prediction_total|platform_calls|webhook_deliveries/

server.test(
  'a real Prometheus that scrapes an API answers every query and evaluates every rule',
  async () => {
    const { app, post, waiting } = await startTestApi()
    await waiting()
    const api = await serveHttp(app, { host: loopback, port: 0 })
    onTestFinished(() => api.close())
    const folder = temporaryFolder('prometheus')
    const [port] = await freePorts(1)
    const settings = {
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: [join(root, 'deploy/prometheus/alerts.yml')],
      scrape_configs: [
        { job_name: 'perdure-api', static_configs: [{ targets: [`${loopback}:${api.port}`] }] },
      ],
    }
    writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(settings))
    const args = ['--config.file=prometheus.yml', '--storage.tsdb.path=data']
    const running = start(
      prometheus ?? '',
      [...args, `--web.listen-address=${loopback}:${port}`],
      folder,
      'prometheus',
    )
    onTestFinished(() => running.stop())
    const url = `http://${loopback}:${port}`
    await until([running], 'Prometheus is ready', async () => (await fetch(`${url}/-/ready`)).ok)

    for (const [title, expr] of queries.slice(alerts.length)) {
      const query = expr.replaceAll('$__rate_interval', '30s')
      await vi.waitFor(
        async () => {
          await post('/v1/predict', { model_name: 'm', inputs: {} })
          const answer = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(query)}`)
          const body = Answer.parse(await answer.json())
          expect(body.status, title).toBe('success')
          if (!countedElsewhere.test(expr)) expect(body.data.result.length, title).toBeGreaterThan(0)
        },
        { timeout: 40_000, interval: 250 },
      )
    }
    await vi.waitFor(
      async () => {
        const { data } = RuleStates.parse(await (await fetch(`${url}/api/v1/rules`)).json())
        const states = data.groups.flatMap(({ rules }) => rules)
        expect(states.map(({ name }) => name)).toEqual(alerts.map(({ alert }) => alert))
        for (const { name, health } of states) expect(health, name).toBe('ok')
        // One waits and none runs: what the rule is there for.
        expect(states.find(({ name }) => name === 'PerdureQueueDoesNotMove')?.state).toBe('pending')
        expect(states.find(({ name }) => name === 'PerdureApiDown')?.state).toBe('inactive')
      },
      { timeout: 40_000, interval: 250 },
    )
  },
  120_000,
)

const Answer = z.object({ status: z.string(), data: z.object({ result: z.array(z.unknown()) }) })
const RuleStates = z.object({
  data: z.object({
    groups: z.array(
      z.object({ rules: z.array(z.object({ name: z.string(), health: z.string(), state: z.string() })) }),
    ),
  }),
})

function check(...args: string[]): void {
  execFileSync(promtool ?? '', ['check', ...args], { stdio: 'pipe', timeout: 30_000 })
}

/** Names of all metrics with their labels, as a running API shows them; `up` is Prometheus' own. */
async function metricsOfAnApi(): Promise<Map<string, string[]>> {
  const { get, post } = await startTestApi()
  await post('/v1/predict', { model_name: 'm', inputs: {} })
  const text = await (await get('/metrics')).text()
  const shown = new Map<string, string[]>([['up', []]])
  for (const [, name = '', type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    const names = type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name]
    // A family without samples yet shows no labels: those that the code declares.
    for (const one of names) shown.set(one, declaredLabels[name] ?? labelsOf(text, one))
  }
  return shown
}

const byModel = ['model', 'platform']
const declaredLabels: Record<string, string[]> = {
  predictions_total: [...byModel, 'status'],
  prediction_total_seconds: byModel,
  platform_calls_total: [...byModel, 'code'],
  webhook_deliveries_total: ['outcome'],
}

function labelsOf(text: string, name: string): string[] {
  return [...text.matchAll(new RegExp(`^${name}\\{([^}]*)\\}`, 'gm'))].flatMap(([, labels = '']) =>
    [...labels.matchAll(/(\w+)=/g)].map(([, label = '']) => label),
  )
}

const functions = /^(?:absent|and|by|histogram_quantile|max|on|rate|sum|unless)$/

/** Names in a query: what stands in braces and behind by or on are labels, the rest are metrics. */
function namesIn(expr: string): { metrics: string[]; labels: string[] } {
  const labels: string[] = []
  const rest = expr
    .replaceAll(/\b(?:by|on) *\(([^)]*)\)/g, (_, list: string) => {
      labels.push(...list.split(',').map((word) => word.trim()))
      return ' '
    })
    .replaceAll(/\{([^}]*)\}/g, (_, matchers: string) => {
      labels.push(...[...matchers.matchAll(/(\w+)\s*[=!]/g)].map(([, label = '']) => label))
      return ' '
    })
    .replaceAll(/\[[^\]]*\]/g, ' ')
  const words = rest.match(/\b[a-z_]\w*\b/g) ?? []
  return { metrics: words.filter((word) => !functions.test(word)), labels }
}
