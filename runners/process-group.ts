/** Ends everything that belongs to one process job, and proves it: no process of the group, no escaped child, no open port. */
import { connect } from 'node:net'
import { type Deadline, deadlineIn, sleepWithin } from '../protocols/deadline.ts'
import { readJobFile } from './job-folder.ts'
import { isAlive, listProcesses, type ProcessEntry, startedWith } from './process-table.ts'
import type { Removal } from './runner.ts'

const markName = 'PERDURE_JOB'
const lookMs = 50
/** How long SIGKILL may take to show in the process table. */
const killMs = 5000
const portMs = 2000

/** Environment entry that children inherit: it finds those that left the group. */
export function jobMark(name: string): Record<string, string> {
  return { [markName]: name }
}

/** SIGTERM to the group, grace, SIGKILL to the group; then a look at what is left. Safe to repeat. */
export async function endProcesses(
  folder: string,
  name: string,
  graceSeconds: number,
  deadline: Deadline,
): Promise<Removal> {
  const server = await readJobFile(folder, 'server.json')
  const supervisor = await readJobFile(folder, 'supervisor.json')
  const supervised = async () =>
    supervisor !== undefined && (await isAlive(supervisor.pid, supervisor.startTime))
  // Before the server exists its supervisor is the one to stop, or it would spawn behind us.
  if (server === undefined && supervisor !== undefined && (await supervised()))
    signal(supervisor.pid, 'SIGKILL')

  const grace = deadlineIn(Math.min(graceSeconds * 1000, deadline.leftMs()))
  let members = await membersOf(name, server)
  for (const pid of targetsOf(members, server?.pid)) signal(pid, 'SIGTERM')
  while (members.length > 0 && !grace.passed) {
    await sleepWithin(lookMs, grace)
    members = await membersOf(name, server)
  }
  const killed = members.length > 0
  const kill = deadlineIn(killMs)
  while (members.length > 0 && !kill.passed) {
    // Again in every round: a member may fork while the others die.
    for (const pid of targetsOf(members, server?.pid)) signal(pid, 'SIGKILL')
    await sleepWithin(lookMs, kill)
    members = await membersOf(name, server)
  }
  // The supervisor ends by itself once it has written the exit down.
  const last = deadlineIn(1000)
  while ((await supervised()) && !last.passed) await sleepWithin(lookMs, last)
  if (supervisor !== undefined && (await supervised())) signal(supervisor.pid, 'SIGKILL')

  const ports = Object.values((await readJobFile(folder, 'job.json'))?.ports ?? {})
  const open = server === undefined ? [] : await stillOpen(ports)
  const leftovers = [
    ...members.map(({ pid }) => `process ${pid}`),
    ...open.map((port) => `port ${port}, still open`),
  ]
  return { gone: leftovers.length === 0, killed, leftovers }
}

/** Processes of the server's group, and those anywhere that carry the job's mark. */
async function membersOf(
  name: string,
  server: { pid: number; startTime: string } | undefined,
): Promise<ProcessEntry[]> {
  const living = (await listProcesses()).filter((entry) => !entry.zombie && entry.pid !== process.pid)
  // A group id is not reused while the group has members, so only a leader of another start time means another group.
  const leader = living.find((entry) => entry.pid === server?.pid)
  const ours = server !== undefined && (leader === undefined || leader.startTime === server.startTime)
  const marked = await Promise.all(
    living.map(
      async (entry) =>
        (ours && entry.group === server.pid) || (await startedWith(entry.pid, `${markName}=${name}`)),
    ),
  )
  return living.filter((_, index) => marked[index])
}

/** The server's group as a negative number, as kill(2) wants it: one signal reaches children born in this moment too. */
function targetsOf(members: readonly ProcessEntry[], group: number | undefined): Set<number> {
  return new Set(members.map((member) => (member.group === group ? -member.group : member.pid)))
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // Gone already; what is left shows in the next look.
  }
}

async function stillOpen(ports: readonly number[]): Promise<number[]> {
  const deadline = deadlineIn(portMs)
  for (;;) {
    const answers = await Promise.all(ports.map(accepts))
    const open = ports.filter((_, index) => answers[index])
    if (open.length === 0 || deadline.passed) return open
    await sleepWithin(lookMs, deadline)
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.setTimeout(1000, () => socket.destroy(new Error('timed out')))
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
