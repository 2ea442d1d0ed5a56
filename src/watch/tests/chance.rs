//! Random changes, and changes while we look.

use super::*;

/// Numbers from a seed (xorshift64*), so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        usize::try_from(number).expect("32 bits") % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Does something to the tree through which `way/in/file` leads, or beside it. What is not
/// possible as the tree is does nothing. No link leads upwards, so that all stays in the folder.
fn disturb(folder: &Folder, numbers: &mut Numbers, content: u32) {
    const PLACES: [&str; 8] = ["way", "way/in", "way/in/file", "a", "a/in", "b/in", "b", "b/file"];
    const TARGETS: [&str; 7] = ["a", "b", "in", "file", ".", "b/in", "./a/in"];
    let one = folder.at(numbers.pick(&PLACES));
    let two = folder.at(numbers.pick(&PLACES));
    let target = PathBuf::from(numbers.pick(&TARGETS));
    let target = if numbers.below(2) == 0 { folder.0.join(target) } else { target };
    let beside = folder.at("beside");
    let _ = match numbers.below(15) {
        0..3 => fs::write(&one, content.to_string()),
        // Again and again there must be something to read.
        3..7 => {
            let file = folder.at("way/in/file");
            let made = fs::create_dir_all(folder.at("way/in"));
            made.and_then(|()| fs::write(&file, content.to_string())).or_else(|_| {
                fs::remove_file(folder.at(numbers.pick(&["way", "way/in", "way/in/file"])))
            })
        }
        7 => File::options().append(true).open(&one).and_then(|mut f| f.write_all(b"+")),
        8 | 9 => fs::write(&beside, content.to_string()).and_then(|()| fs::rename(&beside, &one)),
        10 => fs::rename(&one, &two),
        11 => fs::create_dir_all(&one),
        12 => fs::remove_file(&one).or_else(|_| fs::remove_dir_all(&one)),
        13 => symlink(target, &one),
        _ => {
            let _ = fs::remove_file(&beside);
            let made = symlink(target, &beside);
            let _ = fs::remove_file(&one);
            made.and_then(|()| fs::rename(&beside, &one))
        }
    };
}

#[test]
fn whatever_happens_new_content_is_noticed() {
    let mut acts = 0;
    for seed in 1..=60 {
        let folder = Folder::new();
        let mut numbers = Numbers(seed);
        let mut clock = folder.watch(&["way/in/file"]);
        let read = || fs::read(folder.at("way/in/file")).ok();
        let mut acted_upon = None;
        for step in 0..300 {
            disturb(&folder, &mut numbers, step);
            // Sometimes several changes are taken in at once.
            if numbers.below(3) == 0 {
                clock.take_in();
            }
            if numbers.below(3) == 0 {
                let due = clock.count() > 0;
                let now = read();
                assert!(due || now.is_none() || now == acted_upon, "seed {seed}, step {step}");
                if now.is_some() {
                    acts += usize::from(now != acted_upon);
                    acted_upon = now;
                }
            }
        }
    }
    assert!(acts > 1000, "only {acts} changes were put to the test");
}

#[test]
fn what_changes_while_we_look_is_noticed() {
    let folder = Folder::new();
    let mut clock = folder.watch(&["way/in/file"]);
    let read = || fs::read(folder.at("way/in/file")).ok();
    let mut numbers = Numbers(1);
    let mut acted_upon = None;
    for round in 0..4000 {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..numbers.below(3) {
                    disturb(&folder, &mut numbers, round);
                }
                // What takes us several looks should come while we look.
                for step in ["way", "way/in"] {
                    let _ = fs::create_dir(folder.at(step));
                }
                let _ = fs::write(folder.at("way/in/file"), round.to_string());
                over.store(true, Ordering::SeqCst);
            });
            let mut last = false;
            while !last {
                last = over.load(Ordering::SeqCst);
                if clock.count() > 0 {
                    acted_upon = read();
                }
            }
        });
        let now = read();
        assert!(now.is_none() || now == acted_upon, "{now:?}, not {acted_upon:?}");
        // Begin anew with nothing, or go on with what is there.
        if round % 4 != 0 {
            let way = folder.at("way");
            let _ = fs::remove_file(&way).or_else(|_| fs::remove_dir_all(&way));
            clock.dues();
        }
    }
}
