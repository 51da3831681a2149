"""Guards of the store: its transactions, the lease, and what makes a repeated write harmless."""

from __future__ import annotations

from guard import LEASE_CHECK, LOCK, REPLAY, RETRY, TRANSACTION, Guard

KILLED = ("store/test_transactions.py::test_a_write_that_is_killed_leaves_nothing_of_it",)
"""A kill before each statement of each write."""
REFUSED = ("store/test_lease.py::test_every_write_of_a_lost_lease_is_refused_and_nothing_is_written",)


def parted(name: str, statement: str, begun_by: str = "self._held(lease)", file: str = "store/records.py") -> Guard:
    """A transaction that is two without the guard: the second begins at this statement."""
    depth = len(statement) - len(statement.lstrip())
    return Guard(name, TRANSACTION, file, statement, f"{' ' * (depth - 4)}with {begun_by} as connection:\n{statement}",
                 KILLED)


TRANSACTIONS = (
    Guard("a write is all or nothing", TRANSACTION, "store/database.py",
          'connection.exec_driver_sql("BEGIN" if wait is None else "BEGIN IMMEDIATE")',
          'if wait is None:\n        connection.exec_driver_sql("BEGIN")', KILLED),
    Guard("a read sees one moment: SQLite", TRANSACTION, "store/database.py",
          'connection.exec_driver_sql("BEGIN" if wait is None else "BEGIN IMMEDIATE")',
          'if wait is not None:\n        connection.exec_driver_sql("BEGIN IMMEDIATE")',
          ("store/test_at_once.py::test_a_reader_sees_one_moment[sqlite]",)),
    Guard("a read sees one moment: PostgreSQL", TRANSACTION, "store/database.py",
          'isolation_level="REPEATABLE READ"', 'isolation_level="READ COMMITTED"',
          ("store/test_at_once.py::test_a_reader_sees_one_moment[postgres]",)),
    parted("a sweep is entered with its seal",
           "                seals.renew(connection, sweeps, sweeps.c.name == name)\n", "self._database.write()"),
    parted("a sweep is entered with its lease", "                connection.execute(insert(leases)",
           "self._database.write()"),
    parted("a stop is written with the sweep's seal",
           "            seals.renew(connection, sweeps, sweeps.c.id == sweep.id)\n", "self._database.write()"),
    parted("a change of a sweep is written with its seal",
           "            seals.renew(connection, sweeps, sweeps.c.id == lease.sweep.id)\n"),
    parted("a trial's start is written with its seal",
           "                seals.renew(connection, trials, trials.c.sweep_id == lease.sweep.id, trials.c.number == "),
    parted("reports and checkpoints are written together",
           "            for kind, blob in ((checkpoints.LAST, last), (checkpoints.BEST, best)):\n"),
    parted("checkpoints are written with the trial's row",
           "            connection.execute(update(trials).where(trials.c.id == row.id).values(\n"
           "                revision=_next_revision(connection, lease), curve="),
    parted("a trial's last reports are written with its end",
           "            if best is not None:\n                checkpoints.put(connection, row.id, checkpoints.BEST,"),
    parted("a trial's weights are written with its end",
           "            connection.execute(update(trials).where(trials.c.id == row.id).values(\n"
           "                state=outcome.state"),
    parted("weights make way in the transaction of the end", "            checkpoints.keep_best("),
    parted("a stage's result takes the place of the earlier one", "            connection.execute(insert(stages)"),
    parted("a damaged trial is forgotten whole", "            connection.execute(delete(trials)",
           "self._store._held(self._lease)", "store/mending.py"),
    parted("a trial is reopened whole", '            self._search_again(connection, f"the weights',
           "self._store._held(self._lease)", "store/mending.py"),
    parted("a sweep is deleted whole", "        for table in (trials, stages, leases):\n", "store._held(lease)",
           "store/deletion.py"),
    Guard("tables are brought to another layout whole", TRANSACTION, "store/layout.py",
          "                _STEPS[version](connection)\n", "                _STEPS[version](connection)\n"
          '                connection.exec_driver_sql("COMMIT")\n                connection.exec_driver_sql("BEGIN")\n',
          ("store/test_transactions.py::"
           "test_a_store_that_is_killed_while_it_is_brought_up_to_date_is_still_the_older",)),
    Guard("a new file is a store from its first moment", TRANSACTION, "store/layout.py",
          '    new = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.new")\n', "    new = path\n",
          ("store/test_transactions.py::test_a_kill_while_a_store_is_made_leaves_none[sqlite]",)),
)

LEASES = (
    Guard("each write checks the lease", LEASE_CHECK, "store/records.py",
          "            lease.check(connection)\n            yield connection", "            yield connection", REFUSED),
    Guard("a lease that was taken is refused", LEASE_CHECK, "store/lease.py", "if held.rowcount != 1:", "if False:",
          REFUSED),
    Guard("a lease is told by its token", LEASE_CHECK, "store/lease.py",
          "return leases.c.sweep_id == self.sweep.id, leases.c.token == self.token",
          "return leases.c.sweep_id == self.sweep.id, leases.c.token >= 0", REFUSED),
    Guard("a lease is of the sweep it was taken of", LEASE_CHECK, "store/lease.py", ", _is(self.sweep)\n", "\n",
          ("store/test_deletion.py::test_a_frozen_controller_writes_nothing_to_the_next_sweep_of_that_name",)),
    Guard("a deletion checks the lease", LEASE_CHECK, "store/deletion.py",
          "    with store._held(lease) as connection:\n", "    with store._database.write() as connection:\n",
          ("store/test_deletion.py::test_who_lost_the_lease_deletes_nothing",)),
    Guard("each holder has a token of its own", LEASE_CHECK, "store/lease.py", "token = int(row.token) + 1\n",
          "token = int(row.token)\n", REFUSED),
    Guard("what is released has another token", LEASE_CHECK, "store/lease.py",
          "values(token=leases.c.token + 1, expires=0.0)", "values(expires=0.0)",
          ("store/test_lease.py::test_a_released_lease_writes_no_more",)),
    Guard("a second controller is refused", LEASE_CHECK, "store/lease.py", "    if current is not None:\n",
          "    if False:\n", ("store/test_lease.py::test_the_second_controller_is_told_who_holds_the_sweep",)),
    Guard("a lease runs out", LEASE_CHECK, "store/lease.py", "row.expires <= row.clock or ", "row.expires == 0.0 or ",
          ("store/test_lease.py::test_a_dead_number_on_another_host_is_waited_for",)),
    Guard("a dead process is replaced at once", LEASE_CHECK, "store/lease.py", "not _is_alive(row.pid, row.born)",
          "False",
          ("store/test_lease.py::test_a_dead_process_of_this_host_is_replaced_at_once",)),
    Guard("a dead process nobody has waited for is dead", LEASE_CHECK, "store/lease.py",
          "process.status() != psutil.STATUS_ZOMBIE and ", "",
          ("store/test_lease.py::test_a_dead_process_of_this_host_is_replaced_at_once",)),
    Guard("a process is told by its birth", LEASE_CHECK, "store/lease.py",
          " and abs(process.create_time() - born) < BORN_TOLERANCE", "",
          ("store/test_lease.py::test_a_reused_process_number_is_not_taken_for_alive",)),
    Guard("a process is looked for where it runs", LEASE_CHECK, "store/lease.py", "row.place == _place() and ", "",
          ("store/test_lease.py::test_a_dead_number_on_another_host_is_waited_for",)),
    Guard("a write renews the lease", LEASE_CHECK, "store/lease.py",
          "held = connection.execute(update(leases).where(*self._mine()).values(expires=now() + self.ttl))",
          "held = connection.execute(update(leases).where(*self._mine()).values(expires=leases.c.expires))",
          ("store/test_lease.py::test_a_lease_nobody_took_goes_on_after_a_long_sleep",)),
    Guard("a lease is kept while nothing is written", LEASE_CHECK, "store/lease.py", "                self.renew()\n",
          "                pass\n", ("store/test_lease.py::test_a_lease_is_kept_while_its_holder_writes_nothing",)),
    Guard("a keeper leaves a lease that was taken", LEASE_CHECK, "store/lease.py",
          "                return  # the next write tells it\n", "                continue\n",
          ("store/test_lease.py::test_a_keeper_ends_with_its_lease",)),
)

LOCKS = (
    Guard("the one who takes a lease locks its row", LOCK, "store/lease.py",
          "_row_of(sweep.id).with_for_update()", "_row_of(sweep.id)",
          ("store/test_at_once.py::test_of_two_that_take_a_sweep_one_gets_it[postgres]",)),
    Guard("a write holds the lease's row to its end", LOCK, "store/lease.py",
          "held = connection.execute(update(leases).where(*self._mine()).values(expires=now() + self.ttl))",
          'held = connection.execute(select(leases).where(*self._mine()).execution_options(preserve_rowcount=True))',
          ("store/test_at_once.py::test_no_lease_is_taken_in_the_middle_of_a_write[postgres]",)),
    Guard("SQLite's one writer waits for the other from the start", LOCK, "store/database.py",
          '"BEGIN" if wait is None else "BEGIN IMMEDIATE"', '"BEGIN"',
          ("store/test_at_once.py::test_of_two_that_take_a_sweep_one_gets_it[sqlite]",)),
    Guard("a stop locks the sweep it asks about", LOCK, "store/records.py", "_sweep(connection, name, lock=True)",
          "_sweep(connection, name)",
          ("store/test_at_once.py::test_a_stop_that_comes_as_the_sweep_ends_leaves_it_ended[postgres]",)),
    Guard("uses of a test part are counted one after the other", LOCK, "store/records.py",
          "            connection.execute(select(sweeps.c.id).where(sweeps.c.name == sweep).with_for_update())\n", "",
          ("store/test_at_once.py::test_a_model_that_two_judge_at_once_is_counted_once[postgres]",)),
    Guard("one of the first comers makes PostgreSQL's tables", LOCK, "store/layout.py",
          "SELECT pg_advisory_xact_lock(hashtext('seqsweep_schema'))", "SELECT 1",
          ("store/test_store.py::test_first_comers_create_the_tables_together[postgres]",)),
    Guard("the first comer's file is not overwritten", LOCK, "store/layout.py",
          "        os.link(new, path)\n", "        new.replace(path)\n",
          ("store/test_at_once.py::test_of_two_that_make_a_store_the_first_ones_stays",)),
    Guard("a frozen client loses its locks", LOCK, "store/database.py",
          "    connection.execute(f\"SET idle_in_transaction_session_timeout = '{2 * LOCK_SECONDS}s'\")\n", "",
          ("store/test_at_once.py::test_one_that_froze_in_a_transaction_keeps_its_locks_for_a_while_only",)),
    Guard("a lock is waited for a while only", LOCK, "store/database.py",
          "    connection.execute(f\"SET lock_timeout = '{LOCK_SECONDS}s'\")\n", "",
          ("store/test_store_failures.py::test_a_store_locked_for_long[postgres]",)),
)

REPLAYS = (
    Guard("a trial that was started is started again without harm", REPLAY, "store/records.py",
          "            if row.state != TrialState.RUNNING or trial_of(row) != trial:\n", "            if True:\n",
          ("store/test_store.py::test_a_trial_is_started_once",)),
    Guard("a number is one trial's", REPLAY, "store/records.py",
          "            if row.state != TrialState.RUNNING or trial_of(row) != trial:\n", "            if False:\n",
          ("store/test_store.py::test_a_trial_is_started_once",)),
    Guard("a closed trial gets no more reports", REPLAY, "store/records.py",
          "            if row.state != TrialState.RUNNING:\n                raise Conflict(f\"trial {number} of sweep "
          "{lease.sweep.name} is closed (",
          "            if False:\n                raise Conflict(f\"trial {number} of sweep "
          "{lease.sweep.name} is closed (", ("store/test_store.py::test_a_trial_is_closed_once",)),
    Guard("a trial that was closed is closed again without harm", REPLAY, "store/records.py",
          "                if outcome_of(row) == outcome:\n                    return\n", "",
          ("store/test_store.py::test_a_trial_is_closed_once",)),
    Guard("a trial has one outcome", REPLAY, "store/records.py", "                if outcome_of(row) == outcome:\n",
          "                if outcome_of(row):\n", ("store/test_store.py::test_a_trial_is_closed_once",)),
    Guard("epochs that are trained again replace the earlier ones", REPLAY, "store/curves.py",
          "    connection.execute(delete(table).where(table.c.trial_id == trial_id, table.c.epoch >= epochs[0]))\n", "",
          ("store/test_store.py::test_reports_after_going_back_to_a_checkpoint_replace_the_later_ones",)),
    Guard("checkpoints that are written again replace the earlier ones", REPLAY, "store/checkpoints.py",
          "    drop(connection, trial_id, kind, but=kept)\n", "",
          ("store/test_damage.py::test_two_checkpoints_to_go_on_from_are_kept_and_one_of_weights",)),
    Guard("a stage has one result", REPLAY, "store/records.py",
          "            connection.execute(delete(stages).where(stages.c.sweep_id == lease.sweep.id, stages.c.stage == "
          "stage))\n", "", ("store/test_store.py::test_stages_and_uses_of_a_test_part",)),
    Guard("judging a model again counts once", REPLAY, "store/records.py",
          "select(func.count()).select_from(test_uses).where(*same)).scalar_one() == 0:",
          "select(func.count()).select_from(test_uses).where(*same)).scalar_one() >= 0:",
          ("store/test_store.py::test_stages_and_uses_of_a_test_part",)),
    Guard("a name is one sweep's", REPLAY, "store/records.py",
          "        except IntegrityError:\n            raise Conflict(f\"a sweep named",
          "        except ZeroDivisionError:\n            raise Conflict(f\"a sweep named",
          ("store/test_store.py::test_sweeps_are_found_by_name",)),
)

RETRIES = (
    Guard("who turns SQLite's log on waits for who writes", RETRY, "store/database.py",
          'if "locked" not in str(error) or time.monotonic() > deadline:', "if True:",
          ("store/test_at_once.py::test_a_store_whose_log_is_to_be_turned_on_waits_for_who_writes_to_it",)),
    Guard("a dropped connection is made anew", RETRY, "store/database.py", "pool_pre_ping=True", "pool_pre_ping=False",
          ("store/test_store_failures.py::test_a_dropped_connection_is_made_anew",)),
    Guard("a keeper tries again after an outage", RETRY, "store/lease.py",
          "            except SeqsweepError:\n                continue\n", "            except SeqsweepError:\n"
          "                return\n", ("store/test_lease.py::test_an_outage_ends_no_lease",)),
    Guard("a lease that cannot be released runs out", RETRY, "store/lease.py",
          "with contextlib.suppress(Outage):", "with contextlib.suppress():",
          ("store/test_lease.py::test_an_outage_ends_no_lease",)),
)

STORE = (*TRANSACTIONS, *LEASES, *LOCKS, *REPLAYS, *RETRIES)
