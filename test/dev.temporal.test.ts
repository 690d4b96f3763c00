/** The Temporal server that `npm start` runs: it keeps its data, names a taken port, and replaces an orphan. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, Connection } from '@temporalio/client'
import { expect, inject, onTestFinished, test, vi } from 'vitest'
import { loopback } from '../dev/free-ports.ts'
import { startTemporal, type TemporalOptions, type TemporalServer } from '../dev/temporal-server.ts'

const binary = inject('temporalCli')

test('a second start with the same database finds the workflow of the first', async () => {
  const folder = temporaryFolder()
  const dbFilename = join(folder, 'temporal.db')
  const first = await start({ dbFilename }, folder)
  await withClient(first.address, (client) =>
    client.workflow.start('nobody', {
      taskQueue: 'none',
      workflowId: 'kept',
      searchAttributes: { FlightSize: [3] },
    }),
  )
  await first.stop()
  await first.exited

  const second = await start({ dbFilename }, folder)
  const description = await withClient(second.address, (client) =>
    client.workflow.getHandle('kept').describe(),
  )
  expect(description.status.name).toBe('RUNNING')
  expect(description.searchAttributes).toMatchObject({ FlightSize: [3] })
})

test('a server that was killed loses nothing it acknowledged', async () => {
  const folder = temporaryFolder()
  const dbFilename = join(folder, 'temporal.db')
  const first = await start({ dbFilename }, folder)
  await withClient(first.address, (client) =>
    client.workflow.start('nobody', { taskQueue: 'none', workflowId: 'kept' }),
  )
  await first.kill()

  const port = Number(first.address.split(':')[1])
  const second = await start({ dbFilename, port }, folder)
  expect(second.address).toBe(first.address)
  const description = await withClient(second.address, (client) =>
    client.workflow.getHandle('kept').describe(),
  )
  expect(description.status.name).toBe('RUNNING')
})

test('the web interface answers on its own port, and a namespace is made on request', async () => {
  const folder = temporaryFolder()
  const server = await start({ headless: false, namespace: 'models' }, folder)
  const page = await fetch(server.uiUrl, { signal: AbortSignal.timeout(20_000) })
  expect(page.status, await page.text()).toBe(200)
  await withClient(
    server.address,
    (client) => client.workflow.start('nobody', { taskQueue: 'none', workflowId: 'w' }),
    'models',
  )
})

test.each([
  ['port', 'PERDURE_TEMPORAL_PORT'],
  ['uiPort', 'PERDURE_TEMPORAL_UI_PORT'],
] as const)('a taken %s is one line that names the port and %s', async (option, setting) => {
  const folder = temporaryFolder()
  const holder = createServer().listen(0, loopback)
  onTestFinished(() => void holder.close())
  await once(holder, 'listening')
  const address = holder.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const refused = start({ headless: false, [option]: port }, folder)
  await expect(refused).rejects.toThrow(new RegExp(`^port ${port} .*${setting}.*$`))
})

test('a server that cannot start says why in one line', async () => {
  const folder = temporaryFolder()
  const refused = start(
    { dbFilename: join(folder, 'no', 'such', 'folder', 'temporal.db'), pidFile: join(folder, 'pid') },
    folder,
  )
  await expect(refused).rejects.toThrow(/^the Temporal server ended with exit code 1: .*temporal\.log\)$/)
})

test('the orphan of a killed parent is replaced, and its data is found again', async () => {
  const folder = temporaryFolder()
  const dbFilename = join(folder, 'temporal.db')
  const { parent, server } = await startInChild(dbFilename, folder)
  await withClient(server.address, (client) =>
    client.workflow.start('nobody', { taskQueue: 'none', workflowId: 'kept' }),
  )
  parent.kill('SIGKILL')
  await once(parent, 'exit')
  expect(runs(server.pid)).toBe(true)

  const next = await start({ dbFilename }, folder)
  expect(runs(server.pid)).toBe(false)
  const description = await withClient(next.address, (client) => client.workflow.getHandle('kept').describe())
  expect(description.status.name).toBe('RUNNING')
})

test('the server of a living parent is left alone', async () => {
  const folder = temporaryFolder()
  const dbFilename = join(folder, 'temporal.db')
  const { parent, server } = await startInChild(dbFilename, folder)
  await expect(start({ dbFilename }, folder)).rejects.toThrow(`in use by process ${parent.pid}`)
  expect(runs(server.pid)).toBe(true)
})

test('a process that only has the number of a former server is left alone', async () => {
  const folder = temporaryFolder()
  const dbFilename = join(folder, 'temporal.db')
  const bystander = spawn('sleep', ['600'])
  onTestFinished(() => stopped(bystander, 'SIGKILL'))
  await once(bystander, 'spawn')
  const identity = { pid: bystander.pid, began: '1' }
  writeFileSync(`${dbFilename}.pid`, JSON.stringify({ child: identity, parent: { pid: 1, began: '0' } }))
  await start({ dbFilename }, folder)
  expect(runs(bystander.pid!)).toBe(true)
})

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'perdure-temporal-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  return folder
}

async function start(options: Partial<TemporalOptions>, folder: string): Promise<TemporalServer> {
  const logFile = join(folder, 'temporal.log')
  const server = await startTemporal({ binary, headless: true, logFile, ...options })
  onTestFinished(() => server.stop())
  return server
}

async function withClient<T>(
  address: string,
  use: (client: Client) => Promise<T>,
  namespace = 'default',
): Promise<T> {
  const connection = await Connection.connect({ address })
  try {
    return await use(new Client({ connection, namespace }))
  } finally {
    await connection.close()
  }
}

/** Starts a server in a process of its own, which can be killed. */
async function startInChild(dbFilename: string, folder: string) {
  const startedFile = join(folder, 'started.json')
  const options = { binary, dbFilename, headless: true, logFile: join(folder, 'temporal.log') }
  const program = `
    import { writeFileSync } from 'node:fs'
    import { startTemporal } from ${JSON.stringify(join(import.meta.dirname, '../dev/temporal-server.ts'))}
    const { address, pid } = await startTemporal(${JSON.stringify(options)})
    writeFileSync(${JSON.stringify(startedFile)}, JSON.stringify({ address, pid }))`
  const parent = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' })
  let pid: number | undefined
  onTestFinished(async () => {
    await stopped(parent, 'SIGKILL')
    if (pid && runs(pid)) process.kill(pid, 'SIGKILL')
  })
  const server: { address: string; pid: number } = await vi.waitFor(
    () => JSON.parse(readFileSync(startedFile, 'utf8')),
    {
      timeout: 50_000,
      interval: 50,
    },
  )
  pid = server.pid
  return { parent, server }
}

async function stopped(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}

function runs(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')
  } catch {
    return false
  }
}
