/** Alert rules and dashboard: their queries name only what /metrics shows, and Prometheus accepts them. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { freePorts, loopback } from '../dev/free-ports.ts'
import { findExecutable } from '../scripts/run.mjs'
import { type Deployment, echo, makeDeployment } from './support/deployment.ts'
import { describedMetrics } from './support/described-metrics.ts'
import { temporaryFolder } from './support/folders.ts'
import { requirement } from './support/require.ts'
import { json } from './support/scripted-server.ts'
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
    z.discriminatedUnion('type', [
      z.object({ type: z.literal('row'), title: z.string() }),
      z.object({
        type: z.literal('timeseries'),
        title: z.string(),
        datasource: z.object({ uid: z.string() }),
        targets: z.array(z.object({ expr: z.string() })).min(1),
      }),
    ]),
  ),
})

const alerts = Rules.parse(parse(read('deploy/prometheus/alerts.yml'))).groups.flatMap(({ rules }) => rules)
const { panels: all } = Dashboard.parse(JSON.parse(read('deploy/grafana/perdure.json')))
const panels = all.filter((panel) => panel.type === 'timeseries')
const queries = [
  ...alerts.map(({ alert, expr }): [string, string] => [alert, expr]),
  ...panels.flatMap(({ title, targets }) => targets.map(({ expr }): [string, string] => [title, expr])),
]

describe('what is watched', () => {
  test.each(queries)('%s: every metric and label is one that a process shows', async (_, expr) => {
    const shown = await shownMetrics()
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

tools.test('the alarms of the ownership check fire when they must, and only then', () => {
  const folder = temporaryFolder('promtool')
  const series = (name: string, values: string) => ({ series: name, values })
  const counter = (count: string) =>
    series('records_ownerless_total{job="perdure-worker",instance="w1",kind="flight",found="hour"}', count)
  const checks = (count: string, instance = 'w1') =>
    series(`ownership_checks_total{job="perdure-worker",instance="${instance}"}`, count)
  const up = series('up{job="perdure-worker",instance="w1"}', '1x600')
  const fires = (alertname: string, at: string, labels?: Record<string, string>) => ({
    alertname,
    eval_time: at,
    exp_alerts: labels === undefined ? [] : [{ exp_labels: labels }],
  })
  const found = { severity: 'critical', kind: 'flight', found: 'hour' }
  const missing = { severity: 'warning' }
  const tests = [
    // A counter that rises, once, long after it was first seen.
    {
      input_series: [counter('0x120 1x300')],
      alert_rule_test: [
        fires('PerdureOwnerless', '119m'),
        fires('PerdureOwnerless', '125m', found),
        fires('PerdureOwnerless', '200m'),
      ],
    },
    // Found by a process before it was scraped for the first time.
    {
      input_series: [counter('_x30 1x300')],
      alert_rule_test: [fires('PerdureOwnerless', '32m', found), fires('PerdureOwnerless', '60m')],
    },
    // One an hour, on one worker or another, the first before anything was scraped.
    {
      input_series: [up, checks('1x59 2x119 3x421'), checks('0x119 1x481', 'w2')],
      alert_rule_test: ['30m', '100m', '181m', '290m'].map((at) => fires('PerdureOwnershipCheckMissing', at)),
    },
    // The last one after two hours.
    {
      input_series: [up, checks('1x59 2x59 3x600')],
      alert_rule_test: [
        fires('PerdureOwnershipCheckMissing', '200m'),
        fires('PerdureOwnershipCheckMissing', '310m', missing),
      ],
    },
    // None at all: known once workers have been there for three hours.
    {
      input_series: [up, checks('0x600')],
      alert_rule_test: [
        fires('PerdureOwnershipCheckMissing', '179m'),
        fires('PerdureOwnershipCheckMissing', '181m', missing),
      ],
    },
  ]
  // Of an alert only whether it fires, and for what: its words are no promise.
  const rules = parse(read('deploy/prometheus/alerts.yml')) as {
    groups: { rules: { annotations?: object }[] }[]
  }
  for (const { rules: each } of rules.groups) for (const rule of each) delete rule.annotations
  writeFileSync(join(folder, 'alerts.yml'), JSON.stringify(rules))
  const file = join(folder, 'tests.yml')
  const interval = { interval: '1m', input_series: [] }
  writeFileSync(
    file,
    JSON.stringify({
      rule_files: ['alerts.yml'],
      evaluation_interval: '1m',
      tests: tests.map((one) => ({ ...interval, ...one })),
    }),
  )
  execFileSync(promtool ?? '', ['test', 'rules', file], { stdio: 'pipe', timeout: 60_000 })
})

const prometheus = findExecutable('prometheus')
const server = requirement('promtool', () => prometheus !== undefined || 'prometheus is not installed')

server.test(
  'a real Prometheus that scrapes an API and a worker at work answers every query with data and evaluates every rule',
  async () => {
    const [workerPort, port] = await freePorts(2)
    const deployment = await workingDeployment(`${loopback}:${workerPort}`)
    const folder = temporaryFolder('prometheus')
    const jobs = {
      'perdure-api': new URL(deployment.baseUrl).host,
      'perdure-worker': `${loopback}:${workerPort}`,
    }
    const provided = Scraped.parse(parse(read('deploy/compose/prometheus.yml'))).scrape_configs
    const settings = {
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: [join(root, 'deploy/prometheus/alerts.yml')],
      scrape_configs: Object.entries(jobs).map(([job_name, target]) => {
        expect(provided.map((one) => one.job_name)).toContain(job_name)
        return { job_name, static_configs: [{ targets: [target] }] }
      }),
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

    const stopWork = keepBusy(deployment)
    onTestFinished(stopWork)
    const empty = new Map(queries.slice(alerts.length).map(([title, expr]) => [expr, title]))
    await vi.waitFor(
      async () => {
        for (const expr of empty.keys()) {
          const query = expr.replaceAll('$__rate_interval', '30s')
          const answer = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(query)}`)
          const { status, data } = Answer.parse(await answer.json())
          expect(status, expr).toBe('success')
          if (data.result.length > 0) empty.delete(expr)
        }
        expect([...empty.values()]).toEqual([])
      },
      { timeout: 90_000, interval: 500 },
    )
    await stopWork()
    await vi.waitFor(
      async () => {
        const { data } = RuleStates.parse(await (await fetch(`${url}/api/v1/rules`)).json())
        const states = data.groups.flatMap(({ rules }) => rules)
        expect(states.map(({ name }) => name)).toEqual(alerts.map(({ alert }) => alert))
        for (const { name, health } of states) expect(health, name).toBe('ok')
        const stateOf = (alert: string) => states.find(({ name }) => name === alert)?.state
        // One waits and none runs: what the rule is there for.
        expect(stateOf('PerdureQueueDoesNotMove')).toBe('pending')
        for (const alert of ['PerdureApiDown', 'PerdureWorkerDown', 'PerdureNoWorker'])
          expect(stateOf(alert), alert).toBe('inactive')
      },
      { timeout: 60_000, interval: 250 },
    )
  },
  240_000,
)

const Scraped = z.object({ scrape_configs: z.array(z.object({ job_name: z.string() })) })

/** An API and a worker; of the platform's answers some are errors that are worth another try, some never come. */
async function workingDeployment(metricsAddress: string): Promise<Deployment> {
  let calls = 0
  const deployment = await makeDeployment({
    env: { PERDURE_METRICS_ADDRESS: metricsAddress },
    platform(call, response, request) {
      if (call.body.includes('"inputs":[0]')) return
      calls++
      if (calls % 5 === 0) json({ error: 'busy' }, 503)(call, response, request)
      else echo(call, response, request)
    },
  })
  await deployment.startWorker()
  await deployment.startApi()
  return deployment
}

/** Predictions, and cancels of some that run; when it is stopped the queue is paused and one waits. */
function keepBusy(deployment: Deployment): () => Promise<void> {
  const stop = new AbortController()
  const post = (path: string) => fetch(`${deployment.baseUrl}${path}`, { method: 'POST' })
  const work = async () => {
    for (let n = 1; !stop.signal.aborted; n++) {
      const { id } = await deployment.submit(0)
      await deployment.submit(n)
      await delay(500)
      await post(`/cancel/${id}`)
    }
    await post('/pause')
    await deployment.submit(1)
  }
  let stopped: Promise<void> | undefined
  const working = work()
  working.catch(() => undefined)
  return () => {
    stop.abort()
    stopped ??= working
    return stopped
  }
}

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

/** Names of all metrics with their labels: what a process registers, and the SDK's; `up` is Prometheus' own. */
async function shownMetrics(): Promise<Map<string, string[]>> {
  const shown = new Map<string, string[]>([['up', []]])
  for (const { name, type, labels } of await describedMetrics()) {
    const names = type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name]
    for (const one of names) shown.set(one, labels)
  }
  return shown
}

const functions = /^(?:absent|and|by|histogram_quantile|increase|max|offset|on|or|rate|sum|unless)$/

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
