/** `docker compose up`: the whole of docker-compose.yml on a real engine, from the first start until nothing is left. */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, vi } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { composeProject, ownServices, type Project, wholeCompose } from './support/compose.ts'
import { temporaryFolder } from './support/folders.ts'
import { docker, written } from './support/own-image.ts'

const root = fileURLToPath(new URL('../', import.meta.url))

/** Answers after as many milliseconds as it is told, with how often it was asked for that prediction. */
const slowModel = `
import { setTimeout as sleep } from 'node:timers/promises'
import { type ModelRequest, type RequestInfo, V2ModelServer } from 'perdure/modelserver'
export { IrisModel } from '/app/dist/examples/iris/model.js'

const asked = new Map<string, number>()

export class SlowModel extends V2ModelServer {
  override load(): void {}
  override async predict({ inputs = [] }: ModelRequest, { id }: RequestInfo): Promise<number[]> {
    const times = (asked.get(id) ?? 0) + 1
    asked.set(id, times)
    await sleep(Number(inputs[0]))
    return [times]
  }
}
`

const Prediction = z.looseObject({
  id: z.string(),
  status: z.string(),
  outputs: z.looseObject({ outputs: z.array(z.unknown()) }).nullish(),
})
type Prediction = z.infer<typeof Prediction>

wholeCompose.test(
  'the compose file comes up, predicts, survives a killed worker, drains, comes back from a backup, and leaves nothing',
  async () => {
    const models = temporaryFolder('models')
    chmodSync(models, 0o755)
    writeFileSync(join(models, 'models.ts'), slowModel)
    const project = await composeProject({
      model: {
        volumes: [`${models}:/app/models:ro`],
        command: ['serve', '/app/models/models.ts', '--host', '0.0.0.0', '--port', '8080'],
      },
    })

    // All of it, in an order in which nobody fails for want of another.
    await project.compose('up', '--detach', '--wait', '--no-build')
    for (const service of ownServices()) {
      expect(await inspect(project, service, '{{.RestartCount}} {{.State.Health.Status}}')).toBe('0 healthy')
      // The check that the image brings finds out by itself whom to ask.
      await docker('exec', project.container(service), 'node', '/app/dist/deploy/healthcheck.js')
      // The command, and a check that may just run.
      const processes = (await docker('top', project.container(service), '-o', 'pid,args'))
        .split('\n')
        .slice(1)
      expect(processes.filter((line) => !line.includes('healthcheck.js'))).toHaveLength(1)
      expect(await docker('exec', project.container(service), 'id', '-u')).toBe('1000')
    }

    // What the README tells to paste.
    const api = await project.origin('api', 8000)
    const readme = readFileSync(join(root, 'README.md'), 'utf8')
    const answer = await pasted(readme, api)
    expect(answer.status).toBe('succeeded')
    expect(JSON.stringify(answer.outputs)).toContain('setosa')

    const page = await (await fetch(`${api}/docs`)).text()
    const [, script = ''] = /<script[^>]* src="([^"]+)"/.exec(page) ?? []
    expect((await fetch(new URL(script, `${api}/docs`))).status, page).toBe(200)

    const inputs = [[6.7, 3.1, 4.4, 1.4]]
    const kept = await submit(api, 'iris', inputs)
    expect(JSON.stringify((await succeeded(api, kept)).outputs)).toContain('versicolor')
    const records = await project.origin('records', 12000)
    expect((await fetch(`${records}/ready`)).status).toBe(200)
    // H-01: what is uploaded, every keeper of files can read, and no worker.
    const form = new FormData()
    form.set('file', new Blob(['apiVersion: v1, kind: Config']), 'kubeconfig.yaml')
    const uploaded = await fetch(`${records}/upload`, { method: 'POST', body: form })
    const [, name = ''] = /\/files\/([^"]+)"/.exec(await uploaded.text()) ?? []
    expect(await (await fetch(`${api}/files/${name}`)).text()).toContain('kind: Config')
    for (const worker of ['worker-1', 'worker-2'].map((service) => project.container(service))) {
      const script = `
        const { readdirSync } = await import('node:fs')
        const { status } = await fetch(process.env.PERDURE_URL + '/ready')
        console.log(JSON.stringify({ status, seen: readdirSync('/data', { recursive: true }) }))`
      const { status, seen } = JSON.parse(await docker('exec', worker, 'node', '-e', script))
      expect(status).toBe(200)
      expect(seen.filter((path: string) => path.includes(name))).toEqual([])
    }
    const ui = await fetch(`${await project.origin('temporal-ui', 8080)}/api/v1/namespaces/default`)
    expect(await ui.json()).toMatchObject({ namespaceInfo: { name: 'default' } })
    await allTargetsUp(await project.origin('prometheus', 9090))

    // A stopped worker ends what it runs, well within its grace, and leaves the rest to the other.
    // More than one worker takes at a time, so that both have calls running.
    const calm = await slow(api, 16)
    await running(api, 8)
    await project.compose('stop', 'worker-2')
    expect(await inspect(project, 'worker-2', '{{.State.ExitCode}}'), await logs(project, 'worker-2')).toBe(
      '0',
    )
    for (const id of calm) expect((await succeeded(api, id)).outputs?.outputs).toEqual([1])

    // What a killed worker had in flight is done elsewhere.
    const orphaned = await slow(api, 3)
    await running(api, 3)
    await docker('kill', '--signal', 'KILL', project.container('worker-1'))
    await project.compose('up', '--detach', '--no-deps', '--wait', '--no-build', 'worker-2')
    for (const id of orphaned) expect((await succeeded(api, id)).outputs?.outputs).toEqual([2])

    // A backup taken while it runs, restored after everything was deleted: the lines of the operations guide.
    const guide = readFileSync(join(root, 'docs/operations.md'), 'utf8')
    const backup = temporaryFolder('backup')
    await project.paste(linesWith(guide, '-T postgres pg_dump'), backup)
    await project.compose('down', '--volumes')
    await project.paste(linesWith(guide, '-T postgres pg_restore'), backup)
    const restored = await project.origin('api', 8000)
    expect(await succeeded(restored, kept)).toMatchObject({ outputs: { model_name: 'iris' } })
    expect(await pasted(readme, restored)).toMatchObject({ status: 'succeeded' })

    await project.compose('stop')
    for (const service of ownServices()) {
      expect(await inspect(project, service, '{{.State.ExitCode}}'), await logs(project, service)).toBe('0')
    }
    await project.compose('down', '--volumes')
    expect(await project.left()).toEqual([])
  },
  900_000,
)

function inspect(project: Project, service: string, format: string): Promise<string> {
  return docker('inspect', '--format', format, project.container(service))
}

async function logs(project: Project, service: string): Promise<string> {
  return `${service}: ${await written(project.container(service))}`
}

/** The lines of the indented block that holds the word. */
function linesWith(page: string, word: string): string {
  const block = page.split('\n\n').find((text) => text.startsWith('    ') && text.includes(word))
  if (block === undefined) throw new Error(`no block of commands has ${word}`)
  return block
}

/** Sends what the README's first curl line with `Prefer: wait` sends, to another address. */
async function pasted(readme: string, origin: string): Promise<Prediction> {
  const line = readme.split('\n').find((text) => text.includes('curl') && text.includes('Prefer: wait')) ?? ''
  const [, path = ''] = /http:\/\/127\.0\.0\.1:8000(\S+)/.exec(line) ?? []
  const headers = [...line.matchAll(/-H '([^:]+): ([^']+)'/g)].map(([, name = '', value = '']) => [
    name,
    value,
  ])
  const [, body = ''] = /-d '([^']+)'/.exec(line) ?? []
  const response = await fetch(`${origin}${path}`, {
    method: 'POST',
    headers: Object.fromEntries(headers),
    body,
  })
  const text = await response.text()
  expect(response.status, text).toBe(200)
  return Prediction.parse(JSON.parse(text))
}

/** Id of an accepted prediction. */
async function submit(api: string, model: string, inputs: unknown[]): Promise<string> {
  const body = JSON.stringify({ model_name: model, inputs: { inputs } })
  const response = await fetch(`${api}/async/v1/predict`, { method: 'POST', body })
  return z.object({ id: z.string() }).parse(await response.json()).id
}

/** Ids of predictions that take 4 s. */
function slow(api: string, count: number): Promise<string[]> {
  return Promise.all(Array.from({ length: count }, () => submit(api, 'slow', [4_000])))
}

async function succeeded(api: string, id: string): Promise<Prediction> {
  return vi.waitFor(
    async () => {
      const record = Prediction.parse(await (await fetch(`${api}/task/${id}`)).json())
      expect(record.status, JSON.stringify(record)).toBe('succeeded')
      return record
    },
    { timeout: 60_000, interval: 250 },
  )
}

/** Resolves when exactly so many predictions are with a worker. */
async function running(api: string, count: number): Promise<void> {
  await vi.waitFor(
    async () => {
      const metrics = await (await fetch(`${api}/metrics`)).text()
      expect(/^predictions_running(?:\{[^}]*\})? (\d+)$/m.exec(metrics)?.[1], metrics).toBe(String(count))
    },
    { timeout: 30_000, interval: 100 },
  )
}

async function allTargetsUp(prometheus: string): Promise<void> {
  const settings = z
    .object({ scrape_configs: z.array(z.looseObject({ job_name: z.string() })) })
    .parse(parse(readFileSync(join(root, 'deploy/compose/prometheus.yml'), 'utf8')))
  const Targets = z.object({
    data: z.object({
      activeTargets: z.array(
        z.looseObject({ health: z.string(), labels: z.looseObject({ job: z.string() }) }),
      ),
    }),
  })
  await vi.waitFor(
    async () => {
      const answer = await (await fetch(`${prometheus}/api/v1/targets?state=active`)).json()
      const targets = Targets.parse(answer).data.activeTargets
      expect(new Set(targets.map(({ labels }) => labels.job))).toEqual(
        new Set(settings.scrape_configs.map(({ job_name }) => job_name)),
      )
      for (const target of targets) expect(target.health, JSON.stringify(target)).toBe('up')
    },
    { timeout: 90_000, interval: 1_000 },
  )
}
