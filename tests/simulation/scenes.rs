//! Stories that are told as they are written: one thing happens, and what follows is looked at.

use std::rc::Rc;
use std::time::Duration;

use engine::net;
use tokio::time::sleep;

use super::network::Line;
use super::{CONNECTOR, Host, Running, World, in_virtual_time, load};

const WORKER: &str = "bootstrap.servers=b0:9092,b1:9092,b2:9092\n\
    offset.storage.topic=sim-offsets\noffset.storage.partitions=1\n\
    offset.storage.replication.factor=1\n";
const JSON: &str = "key.converter=org.apache.kafka.connect.json.JsonConverter\n\
    value.converter=org.apache.kafka.connect.json.JsonConverter\n";
/// Longer than anything takes that nothing hinders.
const SOON: Duration = Duration::from_secs(2);

/// The copy of a request to add a partition, sent on a connection that broke, arrives when its
/// transaction is over, and begins one that nobody knows of. The coordinator ends it for its age,
/// and fences us: the pipe finds that nobody has taken the slot, and goes on.
pub(crate) fn a_request_comes_late_and_fences() {
    in_virtual_time(async {
        let world = Rc::new(World::new(1));
        world.judged.set(false);
        let connector = format!(
            "{CONNECTOR}{JSON}retriable.restart.connector.wait.ms=2000\n\
             producer.override.transaction.timeout.ms=2000\n"
        );
        let mut pipe = Running::start(&world, 0, &load(WORKER, &connector));
        let insert = |id: i32| {
            let database = &mut *world.database.borrow_mut();
            let xid = database.begin();
            let line = u64::from(id.unsigned_abs());
            database.put(xid, 0, None, Some((id, 1, Some(""))), line);
            database.commit(xid, world.now_unix_us());
            world.changed.notify_waiters();
        };
        let seen = || records(&world, "sim.public.plain");
        sleep(SOON * 5).await;
        insert(1);
        sleep(SOON).await;
        assert_eq!(seen(), 1);
        world.cluster.borrow_mut().hear_late("sim.public.plain");
        sleep(SOON * 2).await;
        assert_eq!(seen(), 1, "nothing asks for the coordinator's clock");
        insert(2);
        let (began, mut fenced) = (net::now(), false);
        while seen() < 2 {
            sleep(Duration::from_millis(100)).await;
            fenced |= pipe.was_fenced();
            assert!(!pipe.task.is_finished(), "the pipe has ended");
            assert!(began.elapsed() < SOON * 20, "it does not go on");
        }
        assert!(fenced && world.has_seen("transaction timed out"));
        eprintln!("went on after {:?}", began.elapsed());
        insert(3);
        sleep(SOON).await;
        assert_eq!(seen(), 3);
        pipe.stop(&world).await;
        assert_eq!(*world.failure.borrow(), None);
    });
}

/// A leader stands still with a batch unread; PostgreSQL dies, and the transaction is aborted
/// without the batch. When the leader reads it, it must not become part of the next transaction.
pub(crate) fn a_batch_comes_late() {
    in_virtual_time(async {
        let world = Rc::new(World::new(1));
        world.judged.set(false);
        world.cluster.borrow_mut().be_old();
        let connector = format!(
            "{CONNECTOR}{JSON}topic.creation.default.partitions=1\n\
             topic.creation.default.replication.factor=1\n\
             retriable.restart.connector.wait.ms=2000\n"
        );
        let pipe = Running::start(&world, 0, &load(WORKER, &connector));
        let insert = |id: i32| {
            let database = &mut *world.database.borrow_mut();
            let xid = database.begin();
            let line = u64::from(id.unsigned_abs());
            database.put(xid, 0, None, Some((id, 1, Some(""))), line);
            database.commit(xid, world.now_unix_us());
            world.changed.notify_waiters();
        };
        let seen = || records(&world, "sim.public.plain");
        sleep(SOON * 5).await;
        insert(1);
        sleep(SOON).await;
        assert_eq!(seen(), 1);
        let back = net::now() + SOON * 4;
        let lines: Vec<_> = world.lines.borrow().clone();
        let leads = |line: &&Rc<Line>| line.host == Host::Broker(0);
        world.cluster.borrow_mut().stall(0, back);
        lines
            .iter()
            .filter(leads)
            .for_each(|line| line.freeze(back));
        insert(2);
        sleep(SOON / 4).await;
        lines
            .iter()
            .filter(leads)
            .for_each(|line| line.hang_up(back));
        let postgres = |line: &&Rc<Line>| line.host == Host::Postgres;
        lines.iter().filter(postgres).for_each(|line| line.cut());
        let restart = net::now() + SOON * 10;
        world.database.borrow_mut().crash(restart, Duration::ZERO);
        sleep(SOON * 30).await;
        assert_eq!(seen(), 2);
        pipe.stop(&world).await;
        assert_eq!(*world.failure.borrow(), None);
    });
}

/// How many records of a topic committed readers see.
fn records(world: &World, topic: &str) -> usize {
    let cluster = &mut *world.cluster.borrow_mut();
    // What is due is done when somebody asks.
    cluster.settle(world);
    let mut records = 0;
    cluster.committed(topic, |_, _| records += 1);
    records
}

/// A registry leaves before the first row that goes south, in the copy and again in the stream.
/// What went north before is seen all the same, in transactions that nobody has to end.
pub(crate) fn routes_wait_for_a_registry() {
    in_virtual_time(async {
        let world = Rc::new(World::new(1));
        world.judged.set(false);
        {
            let mut database = world.database.borrow_mut();
            (database.by_tid, database.copy_rest) = (true, Duration::from_millis(200));
        }
        let seen = |place: &str| records(&world, &format!("sim.{place}"));
        let leave = || {
            let back = net::now() + Duration::from_secs(30);
            world.registry.borrow_mut().down_until = Some(back);
        };
        let rows = |rows: &[(i32, &str)]| {
            let database = &mut *world.database.borrow_mut();
            let xid = database.begin();
            for &(id, place) in rows {
                let line = u64::from(id.unsigned_abs());
                database.put(xid, 0, None, Some((id, 1, Some(place))), line);
            }
            database.commit(xid, world.now_unix_us());
            world.changed.notify_waiters();
        };
        rows(&Vec::from_iter((1..=19).map(|id| (id, "sim.north"))));
        rows(&[(20, "sim.south")]);
        let connector = format!(
            "{CONNECTOR}transforms=u\n\
             transforms.u.type=io.debezium.transforms.ExtractNewRecordState\n\
             transforms.u.route.by.field=payload\n\
             key.converter=org.apache.kafka.connect.json.JsonConverter\n\
             value.converter=io.confluent.connect.avro.AvroConverter\n\
             value.converter.schema.registry.url=http://registry:8081\n\
             errors.retry.timeout=-1\nproducer.override.transaction.timeout.ms=2000\n"
        );
        let pipe = Running::start(&world, 0, &load(WORKER, &connector));
        while !world.has_seen("COPY") {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(300)).await;
        leave();
        sleep(Duration::from_secs(20)).await;
        assert_eq!((seen("north"), seen("south")), (19, 0), "in the copy");
        sleep(Duration::from_secs(20)).await;
        assert_eq!((seen("north"), seen("south")), (19, 1), "behind the copy");
        rows(&[(21, "sim.east")]);
        sleep(SOON).await;
        assert_eq!(seen("east"), 1);
        leave();
        rows(&[(22, "sim.north"), (23, "sim.west")]);
        sleep(Duration::from_secs(20)).await;
        assert_eq!((seen("north"), seen("west")), (20, 0), "in the stream");
        sleep(Duration::from_secs(20)).await;
        assert_eq!((seen("north"), seen("west")), (20, 1), "at the end");
        assert!(!world.has_seen("transaction timed out"));
        pipe.stop(&world).await;
        assert_eq!(*world.failure.borrow(), None);
    });
}
