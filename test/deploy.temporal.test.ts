/** Temporal's production server with the files that docker-compose.yml gives it. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client, Connection } from '@temporalio/client'
import { expect, onTestFinished, test, vi } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { temporalServerPrograms, version } from '../scripts/temporal-server.mjs'
import { temporaryFolder } from './support/folders.ts'
import { production, startProduction } from './support/production.ts'

const file = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url))

test('the server that the tests run is the one that compose runs', () => {
  const { services } = z
    .object({ services: z.record(z.string(), z.looseObject({ image: z.string().optional() })) })
    .parse(parse(readFileSync(file('docker-compose.yml'), 'utf8'), { merge: true }))
  expect(services.temporal?.image).toBe(`temporalio/server:${version.slice(1)}`)
  expect(services['temporal-schema']?.image).toBe(`temporalio/admin-tools:${version.slice(1)}`)
})

production.test('the configuration is one that the server reads, with the ports that compose expects', () => {
  const server = temporalServerPrograms()!['temporal-server']
  const folder = temporaryFolder('temporal-config')
  copyFileSync(file('deploy/compose/temporal.yaml'), join(folder, 'base.yaml'))
  const text = execFileSync(server, ['--config', folder, 'render-config'], {
    encoding: 'utf8',
    env: { SQL_PASSWORD: `it's "#1": {any}` },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const rendered = z
    .object({
      persistence: z.looseObject({
        numHistoryShards: z.number(),
        datastores: z.record(z.string(), z.looseObject({ sql: z.looseObject({ password: z.string() }) })),
      }),
      services: z.record(z.string(), z.looseObject({ rpc: z.looseObject({ grpcPort: z.number() }) })),
      dynamicConfigClient: z.looseObject({ filepath: z.string() }),
    })
    .parse(parse(text))
  expect(rendered.persistence.numHistoryShards).toBe(128)
  expect(rendered.services.frontend?.rpc.grpcPort).toBe(7233)
  expect(rendered.dynamicConfigClient.filepath).toBe('/etc/perdure/dynamic.yaml')
})

production.test('the dynamic settings are ones that the server knows', () => {
  const server = temporalServerPrograms()!['temporal-server']
  const said = execFileSync(
    server,
    ['validate-dynamic-config', file('deploy/compose/temporal-dynamic.yaml')],
    {
      encoding: 'utf8',
    },
  )
  expect(said).not.toMatch(/error:|warning:/)
})

production.test(
  'a workflow outlives kill -9 of Temporal and of PostgreSQL',
  async () => {
    const { temporal, postgres } = await startProduction()
    const connection = await Connection.connect({ address: temporal.address })
    onTestFinished(() => connection.close())
    const { workflow } = new Client({ connection })
    const started = await workflow.start('nobody-runs-this', { taskQueue: 'none', workflowId: 'survivor' })

    await temporal.kill()
    await postgres.kill()
    await postgres.start()
    await temporal.start()

    await vi.waitFor(
      async () => {
        const description = await workflow.getHandle('survivor').describe()
        expect(description.runId).toBe(started.firstExecutionRunId)
        expect(description.status.name).toBe('RUNNING')
      },
      { timeout: 60_000, interval: 200 },
    )
  },
  180_000,
)
