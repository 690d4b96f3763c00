/** The probes of an attempt as activities: sample requests, goldens, load, memory. Results go to the store, the class to the workflow. */
import type { ProbeResults } from '../contracts/validation-record.ts'
import { type ProbeRequest, requestSchemas } from '../contracts/validation-requests.ts'
import type { PhaseEnd, ProbeInput, RunnerActivities, ValidationPhase } from '../contracts/validations.ts'
import { goldensOf } from '../protocols/examples.ts'
import { gateFailure, loadGates, memoryGate } from '../protocols/gates.ts'
import { runLoad } from '../protocols/load.ts'
import { besideJob } from '../protocols/readiness.ts'
import { type PhaseFailure, type QueryPhase, runGoldens, runRequests } from '../protocols/requests.ts'
import { untilStored } from '../records/store.ts'
import { budgeted } from './budget.ts'
import { type Candidate, type RunnerDeps, targetOf, withCandidate } from './candidate.ts'
import { heartbeating } from './heartbeat.ts'
import { requestsText } from './runner.ts'

type Probes = Pick<RunnerActivities, 'runRequests' | 'runGolden' | 'runLoad' | 'judgeMemory'>

interface Judged {
  results: ProbeResults
  failure?: PhaseFailure | undefined
}

const shownCharacters = 300

export function makeProbeActivities(deps: RunnerDeps): Probes {
  const { validations, leaving } = deps

  function probe(
    input: ProbeInput,
    phaseName: ValidationPhase,
    run: (phase: QueryPhase, candidate: Candidate) => Promise<Judged>,
  ): Promise<PhaseEnd> {
    return budgeted(input.budgetMs, [leaving], ({ deadline, signal, spentMs }) =>
      withCandidate(deps, input, phaseName, async (candidate) => {
        const { runner, attempt, show } = candidate
        const target = await targetOf(runner, deadline, { signal })
        const intervalMs = candidate.spec.validationSpec.pollIntervalSeconds * 1000
        const observe = runner.observe
        const judged = await besideJob(observe, { intervalMs, deadline, signal }, (beside) =>
          run(
            {
              target,
              observe,
              deadline,
              requestTimeoutMs: input.requestTimeoutMs,
              signal: beside,
              onProgress: (done, of) => show({ done, of }),
            },
            candidate,
          ),
        )
        const queryMs = (attempt?.timings?.queryMs ?? 0) + spentMs()
        return await ended(candidate, judged, spentMs(), { queryMs })
      }),
    )
  }

  async function ended(
    { patch }: Candidate,
    { results, failure }: Judged,
    spentMs: number,
    timings: { queryMs?: number },
  ): Promise<PhaseEnd> {
    const why = failure && { errorClass: failure.class, message: failure.message }
    await patch({ results, timings, ...why })
    if (failure === undefined) return { spentMs }
    return { spentMs, failure: { class: failure.class, message: failure.message.slice(0, shownCharacters) } }
  }

  async function requestsOf({ spec, job }: Candidate): Promise<ProbeRequest[]> {
    const text = await untilStored(() => validations.text(job.ref.workflowId, requestsText))
    const requests: ProbeRequest[] = JSON.parse(text ?? '[]')
    if (requests.length > 0) return requests
    // Load without sample requests repeats those of the goldens.
    const schema = requestSchemas[spec.servingSpec.binary.kind]
    return spec.goldens.map(({ request }) => schema.parse(request))
  }

  return {
    runRequests: (input) =>
      probe(input, 'requests', async (phase, candidate) => {
        const { results, failure } = await runRequests(phase, await requestsOf(candidate))
        return { results: { requests: results }, failure }
      }),

    runGolden: (input) =>
      probe(input, 'golden', async (phase, { spec }) => {
        const { results, failure } = await runGoldens(phase, goldensOf(spec))
        return { results: { golden: results }, failure }
      }),

    runLoad: (input) =>
      probe(input, 'load', async (phase, candidate) => {
        const { load, gates } = candidate.spec
        if (load === undefined) return { results: {} }
        const measured = await runLoad(phase, load, await requestsOf(candidate))
        const judged = loadGates(gates, measured.results, await baselineOf(candidate))
        return {
          results: { load: measured.results, gates: judged },
          failure: measured.failure ?? gateFailure(judged),
        }
      }),

    judgeMemory: (input) =>
      heartbeating(() =>
        withCandidate(deps, input, 'memory', async (candidate) => {
          const { peakMemoryBytes } = await candidate.runner.observe()
          const judged = memoryGate(candidate.spec.gates, peakMemoryBytes)
          const earlier = candidate.attempt?.results?.gates ?? []
          const gates = [...earlier.filter(({ name }) => judged.every((one) => one.name !== name)), ...judged]
          return await ended(candidate, { results: { gates }, failure: gateFailure(judged) }, 0, {})
        }),
      ),
  }

  async function baselineOf({ spec, job }: Candidate) {
    const id = spec.gates.maxRegression?.blessing
    if (id === undefined) return []
    const found = await untilStored(() => validations.blessing(id))
    return found?.blessing.results[job.ref.binary]?.load ?? []
  }
}
