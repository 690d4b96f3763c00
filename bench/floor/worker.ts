/** A worker for the bare workflow, in a process of its own. Arguments: Temporal address, platform origin. */
import { fileURLToPath } from 'node:url'
import {
  DefaultLogger,
  makeTelemetryFilterString,
  NativeConnection,
  Runtime,
  Worker,
} from '@temporalio/worker'
import { Pool } from 'undici'

const [address = '', platform = ''] = process.argv.slice(2)
Runtime.install({
  logger: new DefaultLogger('ERROR'),
  telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'ERROR', other: 'ERROR' }) } },
})
const pool = new Pool(platform, { connections: 64, pipelining: 1 })
const connection = await NativeConnection.connect({ address })
const worker = await Worker.create({
  connection,
  namespace: 'default',
  taskQueue: 'bench-floor',
  workflowsPath: fileURLToPath(new URL('./workflow.ts', import.meta.url)),
  activities: {
    async call(id: string): Promise<void> {
      const { body } = await pool.request({
        path: '/v2/models/bench/infer',
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': id },
        body: '{"inputs":[1]}',
      })
      await body.dump()
    },
  },
  maxConcurrentLocalActivityExecutions: 200,
  maxConcurrentWorkflowTaskExecutions: 100,
  maxCachedWorkflows: 1_000,
})
process.on('SIGTERM', () => worker.shutdown())
process.stdout.write(`${JSON.stringify({ ready: true })}\n`)
await worker.run()
await connection.close()
await pool.close()
